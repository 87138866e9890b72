"""What a channel is made of."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from fedloom.core.contracts import Tree
from fedloom.core.errors import FedloomError

Shapes = tuple[tuple[int, ...], ...]
"""The shapes of the tensors that a flat vector holds, one after the other."""

Kind = Literal["memory", "rank", "mask", "format"]
ORDER: tuple[Kind, ...] = ("memory", "rank", "mask", "format")
"""What a channel may have one stage of each, in the order in which the sender applies them."""


@dataclass(frozen=True)
class Coded:
    """A flat vector on its way: ``values`` (float32 numbers, or what a format makes of them), and by name whatever else
    decoding needs (``indices``, ``scales``, ``seed`` ...)."""

    values: Tensor
    parts: Tree = field(default_factory=dict)


def same(shapes: Shapes) -> Shapes:
    """The shapes of a stage that leaves them as they are."""
    return shapes


@dataclass(frozen=True)
class Stage:
    """One step of a channel, over a flat float32 vector ``[n]`` that holds tensors of known shapes.

    ``encode(values, shapes, seed)`` runs at the sender; what is drawn at random is drawn from ``seed``, and the same
    input gives the same bits. ``decode(coded, shapes)`` undoes it: float32 of the length that ``shapes`` (those before
    the stage) say; it checks what it is given, which may come from anyone. ``shapes(before)``: the shapes that
    ``coded.values`` holds, where they differ. ``error``: the decoded vector differs from the original by at most
    ``error`` times the original's Euclidean norm (0: not at all). ``change``: the stage makes sense only for the change
    to an adapter that the receiver holds, not for an adapter itself, a Fisher information and the like.
    """

    kind: Kind
    error: float
    encode: Callable[[Tensor, Shapes, int], Coded]
    decode: Callable[[Coded, Shapes], Tensor]
    shapes: Callable[[Shapes], Shapes] = same
    change: bool = False


def length(shapes: Shapes) -> int:
    """Entries of the vector that holds tensors of these shapes."""
    return sum(torch.Size(shape).numel() for shape in shapes)


def pieces(values: Tensor, shapes: Shapes) -> tuple[Tensor, ...]:
    """The flat tensors that a vector holds; they share its memory."""
    return torch.split(values, [torch.Size(shape).numel() for shape in shapes])


def expect(tensor: Tensor | None, dtype: torch.dtype, entries: int, what: str) -> Tensor:
    """A received tensor, flat, after checking its type and its number of entries.

    Raises:
        FedloomError: it is missing, or something else; ``what`` names it.
    """
    if tensor is None or tensor.dtype != dtype or tensor.numel() != entries:
        found = "missing" if tensor is None else f"{tensor.dtype} {list(tensor.shape)}"
        raise FedloomError(
            f"channel: {what} is {found}, expected {dtype} [{entries}]. Both sides need the same channel."
        )
    return tensor.reshape(-1)


def check_count(what: str, value: int) -> None:
    """Check an option that counts something.

    Raises:
        FedloomError: it is below 1; ``what`` names stage and option.
    """
    if value < 1:
        raise FedloomError(f"{what} is {value}, expected a whole number from 1.")
