"""Arithmetic on named tensors: what an adapter, an update or a control variate is between two processes."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fedloom.core.contracts import Tree
from fedloom.core.errors import FedloomError


def add(tree: Tree, change: Tree, factor: float = 1.0) -> Tree:
    """``tree + factor * change``; tensors that ``change`` does not name stay as they are."""
    return tree | {name: tree[name] + factor * value for name, value in change.items()}


def sub(left: Tree, right: Tree) -> Tree:
    """``left - right``, name by name; ``right`` may have further names."""
    return {name: value - right[name] for name, value in left.items()}


def zeros_like(tree: Tree) -> Tree:
    """Zeros with the names, shapes, types and devices of ``tree``."""
    return {name: torch.zeros_like(value) for name, value in tree.items()}


def squared_norm(tree: Tree) -> Tensor:
    """Sum of the squares of all entries, a 0-d tensor that can be differentiated; 0 for an empty tree."""
    return sum((value.square().sum() for value in tree.values()), torch.zeros(()))


def select(tree: Tree, predicate: Callable[[str], bool]) -> Tree:
    """The tensors whose name satisfies ``predicate``, not copied."""
    return {name: value for name, value in tree.items() if predicate(name)}


def to(tree: Tree, like: Tree) -> Tree:
    """``tree`` with each tensor on the device of its namesake in ``like``; names that ``like`` lacks are left out."""
    return {name: value.to(like[name].device) for name, value in tree.items() if name in like}


def check_same(tree: Tree, expected: Tree, what: str) -> None:
    """Check that two trees have the same names, shapes and types; ``what`` names the first in the message.

    Raises:
        FedloomError: with the first name that differs, and how.
    """
    for name in sorted(tree.keys() ^ expected.keys()):
        verb = "lacks" if name in expected else "has an unexpected"
        raise FedloomError(f"{what} {verb} tensor {name!r}. Both sides must train the same adapter.")
    for name, value in tree.items():
        other = expected[name]
        if value.shape != other.shape or value.dtype != other.dtype:
            raise FedloomError(
                f"{what}: tensor {name!r} is {value.dtype} {list(value.shape)}, expected {other.dtype} "
                f"{list(other.shape)}. Both sides must train the same adapter."
            )


def nbytes(tree: Tree) -> int:
    """Bytes of all the entries."""
    return sum(value.numel() * value.element_size() for value in tree.values())


def fingerprint(tree: Tree) -> str:
    """SHA-256 over the names in sorted order, with each tensor's type, shape and bytes: equal for equal bits."""
    digest = hashlib.sha256()
    for name in sorted(tree):
        value = tree[name].detach().cpu().contiguous()
        digest.update(f"{name}|{value.dtype}|{list(value.shape)}|".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


@dataclass
class WeightedSum:
    """A running weighted mean of trees that keeps one sum whatever their number.

    The sum is kept in float64, where integer weights times float32 values add up without rounding: identical trees have
    exactly themselves as their mean. A float64 sum is also all that stays of a tree: nothing is aliased.
    """

    sums: Tree
    weight: float
    like: Tree
    """Tensors without memory (device ``meta``) that say the shapes and types of what came in."""

    @classmethod
    def of(cls, tree: Tree, weight: float) -> "WeightedSum":
        """The sum that holds one tree."""
        sums = {name: value.detach().to("cpu", torch.float64, copy=True).mul_(weight) for name, value in tree.items()}
        return cls(sums, weight, {name: value.detach().to("meta") for name, value in tree.items()})

    def merge(self, other: "WeightedSum") -> "WeightedSum":
        """Add ``other`` to this sum, in place.

        Raises:
            FedloomError: the two do not have the same names, shapes and types.
        """
        check_same(other.like, self.like, "A client's reply")
        for name, value in self.sums.items():
            value.add_(other.sums[name])
        self.weight += other.weight
        return self

    def mean(self) -> Tree:
        """The weighted mean, each tensor in the type it came in.

        Raises:
            FedloomError: the weights sum to zero.
        """
        if self.weight <= 0:
            raise FedloomError("The replies have no weight in all: not one client holds a training example.")
        return {name: (value / self.weight).to(self.like[name].dtype) for name, value in self.sums.items()}
