"""Fraction: which part of a shape is coloured, or which part of the things are of one kind."""

from math import gcd

import numpy as np

from fedloom.tasks._icons.deal import INKS, crowd, one, some
from fedloom.tasks._icons.question import Pictures, Wordings, Words, maker
from fedloom.tasks._icons.scene import Figure, Scene
from fedloom.tasks._icons.words import nouns, plural

SHAPE: Wordings = (
    "What fraction of the shape is coloured?",
    "Which part of the shape is coloured?",
    "How much of the figure is filled with colour?",
)
THINGS: Wordings = (
    "What fraction of the things are {}?",
    "Which part of the things are {}?",
    "How much of all that you see are {}?",
)
SAME: Wordings = (
    "Which picture shows the same fraction?",
    "Where is the same part coloured?",
    "Find the figure of which just as much is filled with colour.",
)

FRACTIONS = tuple((part, whole) for whole in range(2, 7) for part in range(1, whole) if gcd(part, whole) == 1)
"""(part, whole) in lowest terms, so a fraction is written in one way only."""


def shape(rng: np.random.Generator, kind: str, fraction: tuple[int, int], colour: str) -> Scene:
    """A pie or a strip of some size with a part of it coloured."""
    part, whole = fraction
    width = float(rng.uniform(0.8, 0.95))
    height = width if kind == "pie" else float(rng.uniform(0.3, 0.5))
    return Scene(figures=(Figure(kind, colour, 0.5, 0.5, width, height, (whole, part)),))


def _words(rng: np.random.Generator, pack: str, wording: int) -> Words:
    right = one(rng, FRACTIONS)
    wrong = [f"{part}/{whole}" for part, whole in FRACTIONS if (part, whole) != right]
    answer = f"{right[0]}/{right[1]}"
    if rng.random() < 0.6:
        scene = shape(rng, one(rng, ("pie", "strip")), right, one(rng, INKS[:-1]))
        return Words(scene, SHAPE[wording], answer, wrong)
    thing, other = some(rng, nouns(pack), 2)
    scene = crowd(rng, pack, thing, right[0], (other,), right[1] - right[0])
    return Words(scene, THINGS[wording].format(plural(thing)), answer, wrong)


def _pictures(rng: np.random.Generator, pack: str, wording: int) -> Pictures:
    first, second = some(rng, ("pie", "strip"), 2)
    fractions = some(rng, FRACTIONS, 4)
    colour, *colours = some(rng, INKS[:-1], 5)
    right, *wrong = (shape(rng, second, fraction, ink) for fraction, ink in zip(fractions, colours, strict=True))
    return Pictures(shape(rng, first, fractions[0], colour), SAME[wording], right, wrong)


make = maker("fraction", _words, _pictures)
