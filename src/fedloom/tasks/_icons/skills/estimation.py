"""Estimation: how many of a thing fit along a bar, about."""

import numpy as np

from fedloom.tasks._icons.deal import INKS, near, number, one, some
from fedloom.tasks._icons.question import Pictures, Wordings, Words, maker
from fedloom.tasks._icons.scene import Figure, Item, Scene
from fedloom.tasks._icons.words import nouns, plural

LENGTH: Wordings = (
    "About how many {} long is the bar?",
    "About how many {} fit along the bar?",
    "Guess without measuring. How many {} in a row reach as far as the bar?",
)
SAME: Wordings = (
    "Which bar is about as long as this one?",
    "Which picture has a bar of about this length?",
    "Guess without measuring. Where does the bar reach about as far?",
)

UNIT, MOST = 0.22, 4
EDGE = 0.03
SLACK = 0.15
"""How far a bar may be from a whole number of units, in units."""


def bar(rng: np.random.Generator, pack: str, thing: str, units: int) -> Scene:
    """A thing, and below it a bar that is about ``units`` such things long; both begin at the left edge."""
    colour, other = some(rng, INKS, 2)
    length = UNIT * (units + float(rng.uniform(-SLACK, SLACK)))
    return Scene(
        items=(Item(thing, pack, colour, EDGE + UNIT / 2, 0.3, UNIT),),
        figures=(Figure("bar", other, EDGE + length / 2, 0.7, length, 0.2),),
    )


def _words(rng: np.random.Generator, pack: str, wording: int) -> Words:
    thing, units = one(rng, nouns(pack)), number(rng, 1, MOST)
    return Words(
        bar(rng, pack, thing, units), LENGTH[wording].format(plural(thing)), str(units), near(rng, units, 1, MOST + 2)
    )


def _pictures(rng: np.random.Generator, pack: str, wording: int) -> Pictures:
    thing, lengths = one(rng, nouns(pack)), some(rng, range(1, MOST + 1), MOST)
    scene, right, *wrong = (bar(rng, pack, thing, units) for units in (lengths[0], *lengths))
    return Pictures(scene, SAME[wording], right, wrong)


make = maker("estimation", _words, _pictures)
