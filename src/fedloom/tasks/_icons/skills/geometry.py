"""Geometry: the names and sides of shapes."""

import numpy as np

from fedloom.tasks._icons.deal import INKS, near, one, some
from fedloom.tasks._icons.question import Pictures, Wordings, Words, maker
from fedloom.tasks._icons.scene import Figure, Scene

NAME: Wordings = ("What shape is this?", "What is the name of this shape?", "How do we call the figure shown here?")
SIDES: Wordings = (
    "How many sides does this shape have?",
    "How many straight sides do you see?",
    "Count the edges of the figure. What number do you get?",
)
SAME: Wordings = (
    "Which picture has the same shape?",
    "Which shape is of the same kind as this one?",
    "Find the figure that has as many corners as this one.",
)

CORNERS = {"circle": 0, "triangle": 3, "square": 4, "rectangle": 4, "diamond": 4, "pentagon": 5, "hexagon": 6}
SIZES = {"rectangle": (0.9, 0.45), "diamond": (0.55, 0.9)}


def shape(kind: str, colour: str, scale: float = 1.0) -> Scene:
    """One shape in the middle of the picture."""
    width, height = SIZES.get(kind, (0.8, 0.8))
    return Scene(figures=(Figure(kind, colour, 0.5, 0.5, width * scale, height * scale),))


def _words(rng: np.random.Generator, pack: str, wording: int) -> Words:
    kind = one(rng, tuple(CORNERS))
    scene, corners = shape(kind, one(rng, INKS), float(rng.uniform(0.6, 1.0))), CORNERS[kind]
    if corners and rng.random() < 0.4:
        return Words(scene, SIDES[wording], str(corners), near(rng, corners, 2, 8))
    # A square is a rectangle too, so shapes of four corners never stand against one another.
    wrong = [other for other in CORNERS if CORNERS[other] != corners]
    return Words(scene, NAME[wording], kind, wrong)


def _pictures(rng: np.random.Generator, pack: str, wording: int) -> Pictures:
    kind = one(rng, tuple(CORNERS))
    others = some(rng, [other for other in CORNERS if CORNERS[other] != CORNERS[kind]], 3)
    scene, right, *wrong = (
        shape(k, colour, float(rng.uniform(0.6, 1.0)))
        for k, colour in zip((kind, kind, *others), some(rng, INKS, 5), strict=True)
    )
    return Pictures(scene, SAME[wording], right, wrong)


make = maker("geometry", _words, _pictures)
