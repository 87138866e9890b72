"""Dealing things, colours and cells: the small draws that all skills share."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

import numpy as np

from fedloom.tasks._icons.scene import COLOURS, Item, Scene, place

T = TypeVar("T")
Ink = tuple[str, str]
"""A thing and its colour."""

INKS: tuple[str, ...] = tuple(COLOURS)


def one(rng: np.random.Generator, among: Sequence[T]) -> T:
    """One of a sequence, each as likely."""
    return among[int(rng.integers(len(among)))]


def some(rng: np.random.Generator, among: Sequence[T], count: int) -> list[T]:
    """``count`` different ones of a sequence (all of them if there are fewer), in random order."""
    return [among[i] for i in rng.permutation(len(among))[:count]]


def number(rng: np.random.Generator, low: int, high: int) -> int:
    """A whole number from ``low`` to ``high``, both included."""
    return int(rng.integers(low, high + 1))


def near(rng: np.random.Generator, right: int, low: int, high: int) -> list[str]:
    """The other whole numbers from ``low`` to ``high``, those around ``right`` (at most six), as text, shuffled."""
    others = sorted((n for n in range(low, high + 1) if n != right), key=lambda n: abs(n - right))[:6]
    return [str(n) for n in some(rng, others, 6)]


def grid(pack: str, columns: int, rows: int, inks: Iterable[Ink | None]) -> Scene:
    """Things in the cells of a grid in reading order; ``None`` leaves a cell empty."""
    items = []
    for cell, ink in enumerate(inks):
        if ink is not None:
            x, y, size = place(columns, rows, cell % columns, cell // columns)
            items.append(Item(ink[0], pack, ink[1], x, y, size))
    return Scene(items=tuple(items))


def scatter(rng: np.random.Generator, pack: str, inks: Sequence[Ink]) -> Scene:
    """Up to nine things in random cells of the smallest square grid that holds them."""
    side = 1 if len(inks) == 1 else 2 if len(inks) <= 4 else 3
    cells: list[Ink | None] = [None] * side**2
    for cell, ink in zip(some(rng, range(side**2), len(inks)), inks, strict=True):
        cells[cell] = ink
    return grid(pack, side, side, cells)


def alone(pack: str, thing: str, colour: str) -> Scene:
    """One thing that fills the picture."""
    return grid(pack, 1, 1, [(thing, colour)])


def somewhere(rng: np.random.Generator, pack: str, thing: str, least: float, most: float) -> Scene:
    """One thing, whose side is ``least`` to ``most`` of the picture's, anywhere in it and in any colour."""
    size = float(rng.uniform(least, most))
    x, y = 0.5 + rng.uniform(-1, 1, size=2) * (1 - size) / 2
    return Scene(items=(Item(thing, pack, one(rng, INKS), float(x), float(y), size),))


def crowd(
    rng: np.random.Generator, pack: str, thing: str, count: int, others: Sequence[str] = (), of_others: int = 0
) -> Scene:
    """``count`` of a thing among ``of_others`` of other things, all in random cells and colours of two."""
    colours = some(rng, INKS, 2)
    inks = [(thing, one(rng, colours)) for _ in range(count)]
    inks += [(one(rng, others), one(rng, colours)) for _ in range(of_others)]
    return scatter(rng, pack, inks)
