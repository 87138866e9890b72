"""Algebra: sums with an unknown, told with things."""

import numpy as np

from fedloom.tasks._icons.deal import crowd, near, number, one, some
from fedloom.tasks._icons.question import Pictures, Wordings, Words, maker
from fedloom.tasks._icons.words import nouns, plural, spoken

WORTH: Wordings = (
    "Each {one} is worth {n}. What are all {many} worth?",
    "One {one} costs {n}. How much do all {many} cost?",
    "Every {one} gives {n} points. What do the {many} give together?",
)
MORE: Wordings = (
    "How many more {many} make {n}?",
    "How many {many} must be added to get {n}?",
    "You want {n} {many}. How many are still missing?",
)
LEFT: Wordings = (
    "Take away {n} of the {many}. How many {many} are left?",
    "If {n} {many} go away, how many {many} stay?",
    "Someone takes {n} {many}. How many {many} remain?",
)
PICTURE: Wordings = (
    "Which picture must be added to get {n} {many}?",
    "Which picture makes {n} {many} together with this one?",
    "You want {n} {many} in all. Which picture holds those still missing?",
)

VALUES = (2, 3, 5, 10)


def _words(rng: np.random.Generator, pack: str, wording: int) -> Words:
    thing, other = some(rng, nouns(pack), 2)
    count = number(rng, 1, 6)
    ask = one(rng, (WORTH, MORE, LEFT))
    if ask is WORTH:
        n = one(rng, VALUES)
        answer, wrong = n * count, [str(n * k) for k in range(1, 8) if k != count]
    elif ask is MORE:
        n = count + number(rng, 1, 5) + (count == 1)
        answer = n - count
        wrong = near(rng, answer, 1, 9)
    else:
        count = number(rng, 3, 8)
        n = number(rng, 2, count - 1)
        answer = count - n
        wrong = near(rng, answer, 1, 9)
    scene = crowd(rng, pack, thing, count, (other,), number(rng, 0, min(2, 9 - count)))
    return Words(scene, ask[wording].format(one=spoken(thing), many=plural(thing), n=n), str(answer), wrong)


def _pictures(rng: np.random.Generator, pack: str, wording: int) -> Pictures:
    thing = one(rng, nouns(pack))
    count = number(rng, 1, 4)
    counts = some(rng, range(1, 6), 4)
    right, *wrong = (crowd(rng, pack, thing, n) for n in counts)
    text = PICTURE[wording].format(n=count + counts[0], many=plural(thing))
    return Pictures(crowd(rng, pack, thing, count), text, right, wrong)


make = maker("algebra", _words, _pictures)
