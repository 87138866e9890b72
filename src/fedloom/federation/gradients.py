"""Losses and their gradients by what learns, also where a batch does not depend on it, and without dropout."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from fedloom.core.contracts import Backbone, Example, Local, LocalRun, Tree
from fedloom.core.errors import FedloomError


def backward(losses: Tensor, examples: Sequence[Example], run: LocalRun, local: Local) -> Tensor:
    """Set ``.grad`` of every leaf of ``run.theta`` from a batch's losses ``[B]`` and the method's term.

    Without ``local.backward`` it is the gradient of ``losses.mean() + term``. With it, that of the term is added to
    what it sets. A leaf on which nothing depends has the gradient zero, not none: its moments decay and its weight
    decays as in every other step. So it is for a connector where no question of the batch has a picture.

    Returns:
        The mean loss, without the term and without a graph.

    Raises:
        FedloomError: as ``depends``; ``local.backward`` set no gradient.
    """
    mean = losses.mean()
    depends(mean, examples)
    if local.backward:
        local.backward(run, _tied(losses, run.theta))
        if run.theta and all(leaf.grad is None for leaf in run.theta.values()):
            raise FedloomError(
                "method: its Local.backward set no gradient. Fix: it must set .grad of the leaves of run.theta."
            )
        parts = [local.term(run)] if local.term else []
    else:
        parts = [mean + local.term(run) if local.term else mean]
    for total in parts:
        if total.requires_grad:
            total.backward()  # type: ignore[no-untyped-call]
    for leaf in run.theta.values():
        if leaf.grad is None:
            leaf.grad = torch.zeros_like(leaf)
    return mean.detach()


def _tied(losses: Tensor, leaves: Tree) -> Tensor:
    """The losses, with a graph also where no leaf decides them: their gradients are zero then."""
    if losses.requires_grad or not leaves:
        return losses
    return losses + torch.stack([0 * leaf.sum().to(losses) for leaf in leaves.values()]).sum()


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
