"""Losses and their gradients by what learns, also where a batch does not depend on it, and without dropout."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from fedloom.core.contracts import Backbone, Example, Tree
from fedloom.core.errors import FedloomError


def backward(loss: Tensor, total: Tensor, examples: Sequence[Example], leaves: Tree) -> None:
    """Set ``.grad`` of every leaf to the gradient of ``total``, the batch's ``loss`` with a method's term.

    A leaf that it does not depend on has the gradient zero, not none: its moments decay and its weight decays as in
    every other step. So it is for a connector where no question of the batch has a picture.

    Raises:
        FedloomError: as ``depends``.
    """
    depends(loss, examples)
    if total.requires_grad:
        total.backward()  # type: ignore[no-untyped-call]
    for leaf in leaves.values():
        if leaf.grad is None:
            leaf.grad = torch.zeros_like(leaf)


def gradient(loss: Tensor, examples: Sequence[Example], leaves: Tree) -> Tree:
    """The gradient of ``loss`` by each leaf, zero where it does not depend on it; ``.grad`` stays as it is.

    Raises:
        FedloomError: as ``depends``.
    """
    if not depends(loss, examples):
        return {name: torch.zeros_like(leaf) for name, leaf in leaves.items()}
    found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True, materialize_grads=True)
    return dict(zip(leaves, found, strict=True))


def depends(loss: Tensor, examples: Sequence[Example]) -> bool:
    """Whether a batch's loss depends on anything that learns. It need not where what learns is behind pictures, and the
    batch has none.

    Raises:
        FedloomError: it does not, though the batch has pictures.
    """
    if not loss.requires_grad and any(example.images for example in examples):
        raise FedloomError(
            "the loss does not depend on what learns, though there are pictures. Is adapter.where of any use to this "
            "model? If it is a model of your own, its loss must be differentiable by its leaves."
        )
    return loss.requires_grad


def steady(backbone: Backbone) -> AbstractContextManager[None]:
    """While it lasts, a loss is a function of its batch and the adapter alone: without dropout."""
    context: AbstractContextManager[None] = getattr(backbone, "steady", nullcontext)()
    return context
