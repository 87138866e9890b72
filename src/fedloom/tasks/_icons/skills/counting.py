"""Counting: how many there are of a thing, of a colour, or in all."""

import numpy as np

from fedloom.tasks._icons.deal import INKS, crowd, near, number, one, scatter, some
from fedloom.tasks._icons.question import Pictures, Wordings, Words, maker
from fedloom.tasks._icons.words import nouns, plural

COUNT: Wordings = (
    "How many {} are there?",
    "How many {} do you see?",
    "Count the {}. What number do you get?",
)
SAME: Wordings = (
    "Which picture has the same number of things?",
    "Which picture shows as many things as this one?",
    "Count the things here, then find the picture with an equal count.",
)


def _words(rng: np.random.Generator, pack: str, wording: int) -> Words:
    thing, *others = some(rng, nouns(pack), 3)
    count, rest = number(rng, 1, 6), number(rng, 0, 3)
    draw = rng.random()
    if draw < 0.5:
        scene, what = crowd(rng, pack, thing, count, others, rest), plural(thing)
    elif draw < 0.8:
        colour, other = some(rng, INKS, 2)
        inks = [(one(rng, (thing, *others)), colour) for _ in range(count)]
        inks += [(one(rng, (thing, *others)), other) for _ in range(rest)]
        scene, what = scatter(rng, pack, inks), f"{colour} things"
    else:
        scene, what = crowd(rng, pack, thing, count, others, rest), "things"
        count += rest
    return Words(scene, COUNT[wording].format(what), str(count), near(rng, count, 1, 9))


def _pictures(rng: np.random.Generator, pack: str, wording: int) -> Pictures:
    first, second = some(rng, nouns(pack), 2)
    count, *others = some(rng, range(1, 7), 4)
    scene = crowd(rng, pack, first, count)
    right, *wrong = (crowd(rng, pack, second, n) for n in (count, *others))
    return Pictures(scene, SAME[wording], right, wrong)


make = maker("counting", _words, _pictures)
