"""Probability: how likely it is to pick a thing without looking."""

import numpy as np

from fedloom.tasks._icons.deal import INKS, alone, crowd, number, one, scatter, some
from fedloom.tasks._icons.question import Pictures, Wordings, Words, maker
from fedloom.tasks._icons.words import nouns, one_of, spoken

HOW: Wordings = (
    "You pick one thing without looking. How likely is {}?",
    "How likely is it to pick {} without looking?",
    "With your eyes closed you take one thing. What are the chances of {}?",
)
MOST: Wordings = (
    "You pick one thing without looking. Which is the most likely?",
    "Which thing are you most likely to pick without looking?",
    "With your eyes closed you take one thing. What will it most probably be?",
)
PICTURE: Wordings = (
    "From which picture are you most likely to pick this thing?",
    "In which picture is it most likely to pick this thing without looking?",
    "With your eyes closed you want to take this thing. Which picture gives the best chances?",
)

LIKELY = ("certain", "likely", "unlikely", "impossible")
"""In all of the cases, in more than half, in less than half, in none."""
TOTALS = (4, 6, 9)


def _words(rng: np.random.Generator, pack: str, wording: int) -> Words:
    thing, other, third = some(rng, nouns(pack), 3)
    if rng.random() < 0.6:
        answer, total = one(rng, LIKELY), one(rng, TOTALS)
        low, high = {
            "certain": (total, total),
            "likely": (total // 2 + 1, total - 1),
            "unlikely": (1, (total - 1) // 2),
            "impossible": (0, 0),
        }[answer]
        count = number(rng, low, high)
        scene = crowd(rng, pack, thing, count, (other, third), total - count)
        return Words(scene, HOW[wording].format(one_of(thing)), answer, [word for word in LIKELY if word != answer])
    few, many = sorted(some(rng, range(1, 5), 2))
    colours = some(rng, INKS, 2)
    inks = [(name, one(rng, colours)) for name, n in ((thing, many), (other, few), (third, few - 1)) for _ in range(n)]
    return Words(scatter(rng, pack, inks), MOST[wording], spoken(thing), [spoken(other), spoken(third)])


def _pictures(rng: np.random.Generator, pack: str, wording: int) -> Pictures:
    thing, *others = some(rng, nouns(pack), 3)
    counts = sorted(some(rng, range(5), 4), reverse=True)
    right, *wrong = (crowd(rng, pack, thing, n, others, 4 - n) for n in counts)
    return Pictures(alone(pack, thing, one(rng, INKS)), PICTURE[wording], right, wrong)


make = maker("probability", _words, _pictures)
