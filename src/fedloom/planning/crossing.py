"""What crosses the boundary to a language model in a training step, and what a step takes at the client: counted.

The client's half is real (``split/boundary.py``), and so is the host's but for its language model. A row is embeddings
of the model's width, all zero. Steps of one row and of two are gone through; each further row adds what the second did.
"""

import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from fedloom.core.passage import Codes, Passage, Target, Where
from fedloom.models.live import Live
from fedloom.split.boundary import Boundary, Labels
from fedloom.split.desk import Desk
from fedloom.split.messages import Wire
from fedloom.split.numbers import Numbers


@dataclass(frozen=True)
class Shape:
    """A training step's shapes: ``rows`` of ``pictured`` places of pictures and ``worded`` of words, of which
    ``answer`` are predicted; the language model's ``width`` and ``vocabulary``; adapters of ``rank`` at ``where``."""

    rows: int
    pictured: int
    worded: int
    answer: int
    width: int
    vocabulary: int
    rank: int
    where: tuple[Where, ...]


@dataclass(frozen=True)
class Crossing:
    """Bytes of a step over ``wire``: of one whose rows the host has not seen before, and of one whose rows it has.
    ``memory``: the most that a step takes at the client."""

    wire: str
    first_up: int
    first_down: int
    up: int
    down: int
    memory: int


@dataclass(frozen=True)
class _Blank:
    """A language model of the right shapes that says nothing."""

    width: int
    vocabulary: int
    longest: int

    def logits(
        self, embeddings: Tensor, mask: Tensor, keep: Tensor, cache: Any = None, positions: Tensor | None = None
    ) -> Tensor:
        return embeddings[:, keep].sum(dim=2, keepdim=True).expand(-1, -1, self.vocabulary)

    def learning(self) -> list[str]:
        return []


def crossing(shape: Shape, wire: Wire, labels: Labels, numbers: Numbers, dtype: torch.dtype) -> Crossing:
    """What a step of ``shape`` sends and takes; ``dtype`` is that of embeddings at the client."""
    _steps(
        replace(shape, pictured=2, worded=2, answer=1, width=8), 1, wire, labels, numbers, dtype
    )  # what is made once
    one = _steps(shape, 1, wire, labels, numbers, dtype)
    two = one if shape.rows == 1 else _steps(shape, 2, wire, labels, numbers, dtype)
    return Crossing(wire, *(a + (shape.rows - 1) * (b - a) for a, b in zip(one, two, strict=True)))


def _steps(
    shape: Shape, rows: int, wire: Wire, labels: Labels, numbers: Numbers, dtype: torch.dtype
) -> tuple[int, int, int, int, int]:
    """Bytes up and down of a first and a later step of ``rows`` rows, and the most memory."""
    places = shape.pictured + shape.worded
    blank: Any = _Blank(shape.width, shape.vocabulary, places + 1)
    desk = Desk(blank, 1 << 40)
    watch = _Watch()
    boundary = Boundary(lambda blob: watch.elsewhere(lambda: desk.ask("", blob), len(blob)), wire)
    boundary.labels, boundary.numbers = labels, numbers
    leaves = {
        where: (torch.zeros(shape.rank, shape.width), torch.zeros(shape.width, shape.rank, requires_grad=True))
        for where in shape.where
    }
    for down, _ in leaves.values():
        down.requires_grad_()
    found: list[int] = []
    with watch.watching():
        for _ in range(2):
            before = boundary.traffic.up, boundary.traffic.down
            passage, target, *features = _passage(shape, rows, leaves, dtype)
            boundary.losses(passage, target).mean().backward()  # type: ignore[no-untyped-call]
            del passage, target, features
            found += [boundary.traffic.up - before[0], boundary.traffic.down - before[1]]
    return found[0], found[1], found[2], found[3], watch.most


def _passage(
    shape: Shape, rows: int, leaves: dict[Where, tuple[Tensor, Tensor]], dtype: torch.dtype
) -> tuple[Passage, Target, Tensor, list[Tensor]]:
    """A batch as ``models.generative`` makes it, from features of pictures and rows of embeddings that are kept; the
    pictures' features too, in the batch and one by one, which are held as long."""
    places = shape.pictured + shape.worded
    pictured = torch.zeros(rows, places, dtype=torch.bool)
    pictured[:, : shape.pictured] = True
    kept = [torch.zeros(shape.pictured, shape.width, dtype=dtype) for _ in range(rows)]
    seen = torch.stack(kept).requires_grad_(not leaves)  # without NanoAdapters, what makes the rows learns
    base = torch.zeros(rows, places, shape.width, dtype=dtype)
    base = base.masked_scatter(pictured[..., None], seen.flatten(0, 1))
    codes = []
    for where, (down, up) in leaves.items():
        here = pictured if where == "image" else ~pictured
        codes.append(Codes(where, here, base[here].to(down.dtype) @ down.T, up, 1.0))
    keys = tuple(f"{row:032x}" for row in range(rows))
    keep = torch.arange(places - shape.answer, places)
    target = Target(keep, torch.zeros(rows, shape.answer, dtype=torch.long))
    return Passage(base, torch.ones(rows, places, dtype=torch.bool), tuple(codes), keys=keys), target, seen, kept


class _Watch(Live):  # type: ignore[no-untyped-call]
    """The most that tensors and Python's own bytes take at once; what the host takes is left out."""

    def __init__(self) -> None:
        super().__init__()
        self.most = self._apart = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = super().__torch_dispatch__(func, types, args, kwargs)
        self.note()
        return made

    def note(self, besides: int = 0) -> None:
        """Take down what there is, and ``besides`` of it what neither PyTorch nor Python knows of."""
        _, traced = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        self.most = max(self.most, self.look() + traced - self._apart + besides)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch what happens meanwhile."""
        tracemalloc.start()
        try:
            with self:
                yield
                self.note()
        finally:
            tracemalloc.stop()

    def elsewhere(self, answer: Callable[[], bytes], request: int) -> bytes:
        """What a host answers to a request of so many bytes; safetensors holds a copy as it hands them out."""
        self.note(besides=request)
        before, _ = tracemalloc.get_traced_memory()
        with _disable_current_modes():
            made = answer()
        after, _ = tracemalloc.get_traced_memory()
        self._apart += after - before - len(made)
        tracemalloc.reset_peak()
        return made
