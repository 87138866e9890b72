"""Pattern: what comes next in a repeating row, read like a text over three lines."""

import numpy as np

from fedloom.tasks._icons.deal import INKS, alone, grid, one, some
from fedloom.tasks._icons.question import Pictures, Wordings, Words, maker
from fedloom.tasks._icons.words import nouns, spoken

THING: Wordings = (
    "What comes next in the pattern?",
    "Which thing comes next?",
    "The pattern goes on. What belongs in the empty place?",
)
COLOUR: Wordings = (
    "Which colour comes next in the pattern?",
    "What is the next colour?",
    "The pattern goes on. Which colour belongs in the empty place?",
)
PICTURE: Wordings = (
    "Which picture comes next in the pattern?",
    "Which of these comes next?",
    "The pattern goes on. Find the picture for the empty place.",
)

UNITS: tuple[tuple[int, ...], ...] = ((0, 1), (0, 1, 2), (0, 0, 1), (0, 1, 1))
CELLS = 9


def _row(rng: np.random.Generator) -> list[int]:
    """Which of the parts stands in each cell; the last cell is the one to find."""
    unit = one(rng, UNITS)
    return [unit[cell % len(unit)] for cell in range(CELLS)]


def _words(rng: np.random.Generator, pack: str, wording: int) -> Words:
    row = _row(rng)
    found, colours = some(rng, nouns(pack), 5), some(rng, INKS, 5)
    if rng.random() < 0.4:
        parts, text = [(found[0], colour) for colour in colours], COLOUR[wording]
        names = colours
    else:
        parts, text = list(zip(found, colours, strict=True)), THING[wording]
        names = [spoken(thing) for thing in found]
    scene = grid(pack, 3, 3, [parts[part] for part in row[:-1]])
    return Words(scene, text, names[row[-1]], [name for i, name in enumerate(names) if i != row[-1]])


def _pictures(rng: np.random.Generator, pack: str, wording: int) -> Pictures:
    row = _row(rng)
    parts = list(zip(some(rng, nouns(pack), 4), some(rng, INKS, 4), strict=True))
    wrong = [alone(pack, *ink) for i, ink in enumerate(parts) if i != row[-1]]
    scene = grid(pack, 3, 3, [parts[part] for part in row[:-1]])
    return Pictures(scene, PICTURE[wording], alone(pack, *parts[row[-1]]), wrong)


make = maker("pattern", _words, _pictures)
