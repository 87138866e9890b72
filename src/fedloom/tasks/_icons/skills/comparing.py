"""Comparing: of which there are more or fewer."""

import numpy as np

from fedloom.tasks._icons.deal import crowd, number, one, some
from fedloom.tasks._icons.question import Pictures, Wordings, Words, maker
from fedloom.tasks._icons.words import nouns, plural

WHICH: dict[str, Wordings] = {
    "more": (
        "Are there more {} or {}?",
        "Which are there more of, {} or {}?",
        "Of which do you see the larger number, {} or {}?",
    ),
    "fewer": (
        "Are there fewer {} or {}?",
        "Which are there fewer of, {} or {}?",
        "Of which do you see the smaller number, {} or {}?",
    ),
}
THAN: dict[str, Wordings] = {
    "more": (
        "Are there more {} than {}?",
        "Do you see more {} than {}?",
        "Is the number of {} larger than the number of {}?",
    ),
    "fewer": (
        "Are there fewer {} than {}?",
        "Do you see fewer {} than {}?",
        "Is the number of {} smaller than the number of {}?",
    ),
}
PICTURE: dict[str, Wordings] = {
    "more": (
        "Which picture has more things than this one?",
        "Where do you see more things than here?",
        "Find the picture with a larger number of things.",
    ),
    "fewer": (
        "Which picture has fewer things than this one?",
        "Where do you see fewer things than here?",
        "Find the picture with a smaller number of things.",
    ),
}


def _words(rng: np.random.Generator, pack: str, wording: int) -> Words:
    first, second = some(rng, nouns(pack), 2)
    many, few = sorted(some(rng, range(1, 6), 2), reverse=True)
    many = min(many, 9 - few)
    scene = crowd(rng, pack, first, many, (second,), few)
    direction = one(rng, ("more", "fewer"))
    asked = some(rng, (plural(first), plural(second)), 2)
    if rng.random() < 0.5:
        right, wrong = (first, second) if direction == "more" else (second, first)
        return Words(scene, WHICH[direction][wording].format(*asked), plural(right), [plural(wrong)])
    yes = (asked[0] == plural(first)) == (direction == "more")
    answer, other = ("yes", "no") if yes else ("no", "yes")
    return Words(scene, THAN[direction][wording].format(*asked), answer, [other])


def _pictures(rng: np.random.Generator, pack: str, wording: int) -> Pictures:
    first, second = some(rng, nouns(pack), 2)
    count = number(rng, 2, 5)
    below, above = range(1, count), range(count + 1, 8)
    direction, rights, wrongs = one(rng, (("more", above, below), ("fewer", below, above)))
    right, *wrong = (crowd(rng, pack, second, n) for n in (one(rng, rights), *some(rng, [count, *wrongs], 3)))
    return Pictures(crowd(rng, pack, first, count), PICTURE[direction][wording], right, wrong)


make = maker("comparing", _words, _pictures)
