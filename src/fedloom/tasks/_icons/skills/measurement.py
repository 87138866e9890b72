"""Measurement: the length of a bar on a ruler, and which bar is the longest."""

import numpy as np

from fedloom.tasks._icons.deal import INKS, near, number, one, some
from fedloom.tasks._icons.question import Pictures, Wordings, Words, maker
from fedloom.tasks._icons.scene import Figure, Scene

RULER: Wordings = (
    "How many units long is the bar?",
    "How long is the bar on the ruler?",
    "Read off the ruler where the bar ends. What length is that?",
)
EXTREME: dict[str, Wordings] = {
    "longest": (
        "What colour is the longest bar?",
        "Which colour has the longest bar?",
        "One bar is longer than all others. In which colour?",
    ),
    "shortest": (
        "What colour is the shortest bar?",
        "Which colour has the shortest bar?",
        "One bar is shorter than all others. In which colour?",
    ),
}
SAME: Wordings = (
    "Which bar is as long as this one?",
    "Which picture has a bar of the same length?",
    "Find the bar that ends at the same mark of the ruler.",
)

TICKS = 6
EDGE, LONG = 0.05, 0.9


def ruled(rng: np.random.Generator, units: int, colour: str) -> Scene:
    """A bar that is ``units`` long, over a ruler of ``TICKS`` units."""
    length, y = LONG * units / TICKS, float(rng.uniform(0.25, 0.5))
    return Scene(
        figures=(
            Figure("bar", colour, EDGE + length / 2, y, length, 0.25),
            Figure("ruler", "black", EDGE + LONG / 2, y + 0.25, LONG, 0.15, (TICKS,)),
        )
    )


def _words(rng: np.random.Generator, pack: str, wording: int) -> Words:
    if rng.random() < 0.6:
        units = number(rng, 1, TICKS)
        return Words(ruled(rng, units, one(rng, INKS[:-1])), RULER[wording], str(units), near(rng, units, 1, TICKS))
    colours = some(rng, INKS, 4)
    lengths = sorted(some(rng, range(1, TICKS + 1), 3))
    rows = some(rng, (0.2, 0.5, 0.8), 3)
    figures = tuple(
        Figure("bar", colour, EDGE + LONG * n / TICKS / 2, y, LONG * n / TICKS, 0.2)
        for colour, n, y in zip(colours[:3], lengths, rows, strict=True)
    )
    which, right = one(rng, (("longest", 2), ("shortest", 0)))
    wrong = [colour for i, colour in enumerate(colours) if i != right]
    return Words(Scene(figures=figures), EXTREME[which][wording], colours[right], wrong)


def _pictures(rng: np.random.Generator, pack: str, wording: int) -> Pictures:
    first, *colours = some(rng, INKS[:-1], 5)
    lengths = some(rng, range(1, TICKS + 1), 4)
    right, *wrong = (ruled(rng, units, colour) for units, colour in zip(lengths, colours, strict=True))
    return Pictures(ruled(rng, lengths[0], first), SAME[wording], right, wrong)


make = maker("measurement", _words, _pictures)
