"""Arithmetic on named tensors: what an adapter, an update or a control variate is between two processes."""

import hashlib
import math
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


def finite(value: Tensor) -> bool:
    """Whether no entry is NaN or infinite: the least and the greatest tell, in one pass and without a mask."""
    return value.numel() == 0 or all(math.isfinite(end.item()) for end in value.aminmax())


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


TOGETHER = 4
"""Trees that wait to be added in one pass over the sum, which is what takes the time."""


@dataclass
class WeightedSum:
    """A running weighted mean of trees that keeps one sum whatever their number.

    The sum is kept in float64, where integer weights times float32 values add up without rounding: identical trees have
    exactly themselves as their mean. A tree is not copied: it waits for the next, and both are added at once. So who
    hands it in must not change it until the mean is taken; nothing here changes it, and no mean shares its memory.
    """

    total: Tensor
    """Room for the sum of all entries, float64 and flat; untouched, so that it takes no memory, until a sum is made."""
    summed: bool
    """Whether ``total`` holds anything yet."""
    waiting: list[tuple[float, Tree]]
    """Weights and trees that come after what is summed, fewer than ``TOGETHER`` between two calls."""
    weight: float
    like: Tree
    """Tensors without memory (device ``meta``) that say the shapes and types of what came in."""

    @classmethod
    def of(cls, tree: Tree, weight: float) -> "WeightedSum":
        """The sum that holds one tree."""
        tree = {name: value.detach() for name, value in tree.items()}
        room = torch.empty(sum(value.numel() for value in tree.values()), dtype=torch.float64)
        return cls(room, False, [(weight, tree)], weight, {name: value.to("meta") for name, value in tree.items()})

    def merge(self, other: "WeightedSum") -> "WeightedSum":
        """Add ``other`` to this sum, in place.

        Raises:
            FedloomError: the two do not have the same names, shapes and types.
        """
        check_same(other.like, self.like, "A client's reply")
        if other.summed:
            self.waiting.append((1, other.sums()))
        self.waiting += other.waiting
        self.weight += other.weight
        if len(self.waiting) >= TOGETHER:
            self.settle()
        return self

    def sums(self) -> Tree:
        """What is summed so far, as views of ``total``."""
        parts = torch.split(self.total, [value.numel() for value in self.like.values()])
        return {name: part.view(value.shape) for (name, value), part in zip(self.like.items(), parts, strict=True)}

    def settle(self) -> None:
        """Add the waiting trees to the sum, in the order they came in."""
        for name, sums in self.sums().items():
            for number, (weight, tree) in enumerate(self.waiting):
                if self.summed or number:
                    sums.add_(tree[name].cpu(), alpha=weight)
                else:
                    sums.copy_(tree[name]).mul_(weight)
        self.summed, self.waiting = True, []

    def mean(self) -> Tree:
        """The weighted mean, each tensor in the type it came in.

        Raises:
            FedloomError: the weights sum to zero.
        """
        if self.weight <= 0:
            raise FedloomError("The replies have no weight in all: not one client holds a training example.")
        if self.waiting:
            self.settle()
        return {name: (value / self.weight).to(self.like[name].dtype) for name, value in self.sums().items()}
