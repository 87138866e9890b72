"""Scene: what is in a picture, and in which colour."""

import numpy as np

from fedloom.tasks._icons.deal import INKS, alone, number, one, scatter, some
from fedloom.tasks._icons.question import Pictures, Wordings, Words, maker
from fedloom.tasks._icons.words import nouns, spoken

NAME: Wordings = (
    "What is this?",
    "What does the picture show?",
    "How do we call the thing that is drawn here?",
)
COLOUR: Wordings = (
    "What colour is the {}?",
    "Which colour does the {} have?",
    "In which colour is the {} drawn?",
)
PRESENT: Wordings = (
    "Which of these is in the picture?",
    "Which of these do you see in the picture?",
    "One of these is drawn in the picture. Which one?",
)
ABSENT: Wordings = (
    "Which of these is not in the picture?",
    "Which of these do you not see in the picture?",
    "One of these is missing in the picture. Which one?",
)


def _words(rng: np.random.Generator, pack: str, wording: int) -> Words:
    found = some(rng, nouns(pack), 8)
    inside, outside = found[:4], [spoken(thing) for thing in found[4:]]
    colours = some(rng, INKS, 4)
    draw = rng.random()
    if draw < 0.4:
        return Words(alone(pack, inside[0], colours[0]), NAME[wording], spoken(inside[0]), outside)
    count = number(rng, 2, 4)
    scene = scatter(rng, pack, list(zip(inside, colours, strict=True))[:count])
    if draw < 0.7:
        wrong = [colour for colour in INKS if colour != colours[0]]
        return Words(scene, COLOUR[wording].format(spoken(inside[0])), colours[0], wrong)
    if draw < 0.85:
        return Words(scene, PRESENT[wording], spoken(inside[0]), outside, open=False)
    return Words(scene, ABSENT[wording], outside[0], [spoken(thing) for thing in inside[:count]], open=False)


def _pictures(rng: np.random.Generator, pack: str, wording: int) -> Pictures:
    found = some(rng, nouns(pack), 7)
    inside, outside = found[:4], found[4:]
    scene = scatter(rng, pack, list(zip(inside, some(rng, INKS, 4), strict=True)))
    text, rights, wrongs = one(rng, ((PRESENT[wording], inside, outside), (ABSENT[wording], outside, inside)))
    right, *wrong = (alone(pack, thing, one(rng, INKS)) for thing in (rights[0], *wrongs[:3]))
    return Pictures(scene, text, right, wrong)


make = maker("scene", _words, _pictures)
