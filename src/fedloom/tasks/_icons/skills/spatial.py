"""Spatial: what stands where, in a two by two picture of four different things."""

import numpy as np

from fedloom.tasks._icons.deal import INKS, Ink, alone, grid, one, some
from fedloom.tasks._icons.question import Pictures, Wordings, Words, maker
from fedloom.tasks._icons.scene import Scene
from fedloom.tasks._icons.words import nouns, spoken

BESIDE: Wordings = (
    "What is {} the {}?",
    "Which thing is directly {} the {}?",
    "Look {} the {}. What stands there?",
)
CORNER: Wordings = (
    "What is in the {} corner?",
    "Which thing is in the {} corner?",
    "Look at the {} corner. What stands there?",
)
PICTURE: Wordings = (
    "Which picture shows what is {} the {}?",
    "Which of these is directly {} the {}?",
    "Look {} the {}. Find what stands there.",
)

CORNERS = ("top left", "top right", "bottom left", "bottom right")
NEIGHBOURS = {
    ("above", 2): 0, ("above", 3): 1, ("below", 0): 2, ("below", 1): 3,
    ("to the left of", 1): 0, ("to the left of", 3): 2, ("to the right of", 0): 1, ("to the right of", 2): 3,
}  # fmt: skip
"""(relation, cell of the anchor) -> cell that stands there, cells in reading order."""


def _square(rng: np.random.Generator, pack: str) -> tuple[Scene, list[Ink], str]:
    """A scene of four different things, those things, and one more that is not in it."""
    *inside, outside = some(rng, nouns(pack), 5)
    inks = list(zip(inside, some(rng, INKS, 4), strict=True))
    return grid(pack, 2, 2, inks), inks, outside


def _anchor(rng: np.random.Generator, ink: Ink) -> str:
    return f"{ink[1]} {spoken(ink[0])}" if rng.random() < 0.5 else spoken(ink[0])


def _words(rng: np.random.Generator, pack: str, wording: int) -> Words:
    scene, inks, outside = _square(rng, pack)
    if rng.random() < 0.4:
        cell = int(rng.integers(4))
        text = CORNER[wording].format(CORNERS[cell])
    else:
        (relation, anchor), cell = one(rng, tuple(NEIGHBOURS.items()))
        text = BESIDE[wording].format(relation, _anchor(rng, inks[anchor]))
    wrong = [spoken(inks[other][0]) for other in range(4) if other != cell]
    return Words(scene, text, spoken(inks[cell][0]), [*wrong, spoken(outside)])


def _pictures(rng: np.random.Generator, pack: str, wording: int) -> Pictures:
    scene, inks, outside = _square(rng, pack)
    (relation, anchor), cell = one(rng, tuple(NEIGHBOURS.items()))
    text = PICTURE[wording].format(relation, _anchor(rng, inks[anchor]))
    wrong = [alone(pack, *inks[other]) for other in range(4) if other not in (cell, anchor)]
    return Pictures(scene, text, alone(pack, *inks[cell]), [*wrong, alone(pack, outside, one(rng, INKS))])


make = maker("spatial", _words, _pictures)
