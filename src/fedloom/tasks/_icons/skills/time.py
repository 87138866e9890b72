"""Time: reading a clock, and what it shows later."""

import numpy as np

from fedloom.tasks._icons.deal import INKS, number, one, some
from fedloom.tasks._icons.question import Pictures, Wordings, Words, maker
from fedloom.tasks._icons.scene import Figure, Scene

SHOWN: Wordings = (
    "What time does the clock show?",
    "What time is it?",
    "Read the two hands of the clock. Which time is meant?",
)
LATER: Wordings = (
    "What time will it be in {}?",
    "What time is it {} later?",
    "The clock runs on for {}. Which time is it then?",
)
SAME: Wordings = (
    "Which clock shows the same time?",
    "Which of these clocks shows this time?",
    "Find the clock whose hands stand as they do here.",
)

STEPS = {"half an hour": 30, "one hour": 60, "two hours": 120}
DAY = 720
"""Minutes that a clock can tell apart."""


def clock(rng: np.random.Generator, minutes: int, colour: str) -> Scene:
    """A clock of some size, ``minutes`` after twelve."""
    side = float(rng.uniform(0.8, 0.95))
    return Scene(figures=(Figure("clock", colour, 0.5, 0.5, side, side, (minutes // 60 or 12, minutes % 60)),))


def _spoken(minutes: int) -> str:
    return f"{minutes % DAY // 60 or 12}:{minutes % 60:02d}"


def _others(minutes: int) -> list[int]:
    """Times that are easily taken for this one: an hour off, another part of the hour, the opposite side."""
    steps = (60, -60, 30, 90, -120, 180, 360)
    return [(minutes + step) % DAY for step in steps]


def _words(rng: np.random.Generator, pack: str, wording: int) -> Words:
    shown = number(rng, 0, 23) * 30
    scene = clock(rng, shown, one(rng, INKS))
    if rng.random() < 0.65:
        return Words(scene, SHOWN[wording], _spoken(shown), [_spoken(other) for other in _others(shown)])
    phrase = one(rng, tuple(STEPS))
    then = shown + STEPS[phrase]
    return Words(scene, LATER[wording].format(phrase), _spoken(then), [_spoken(other) for other in _others(then)])


def _pictures(rng: np.random.Generator, pack: str, wording: int) -> Pictures:
    shown = number(rng, 0, 23) * 30
    first, *colours = some(rng, INKS, 5)
    times = (shown, *some(rng, _others(shown), 3))
    right, *wrong = (clock(rng, time, colour) for time, colour in zip(times, colours, strict=True))
    return Pictures(clock(rng, shown, first), SAME[wording], right, wrong)


make = maker("time", _words, _pictures)
