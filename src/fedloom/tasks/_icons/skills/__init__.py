"""The 13 skills of IconQA (Lu et al., 2021), each a file with its own generator ``make``."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from fedloom.tasks._icons.deal import one
from fedloom.tasks._icons.question import WORDINGS, Kind, Make, Question
from fedloom.tasks._icons.skills import (
    algebra,
    commonsense,
    comparing,
    counting,
    estimation,
    fraction,
    geometry,
    measurement,
    pattern,
    probability,
    scene,
    spatial,
    time,
)

SKILLS: dict[str, Make] = {
    "geometry": geometry.make,
    "counting": counting.make,
    "comparing": comparing.make,
    "spatial": spatial.make,
    "scene": scene.make,
    "pattern": pattern.make,
    "time": time.make,
    "fraction": fraction.make,
    "estimation": estimation.make,
    "algebra": algebra.make,
    "measurement": measurement.make,
    "commonsense": commonsense.make,
    "probability": probability.make,
}

Which = Literal["public", "private", "all"]
_WORDINGS: dict[Which, range] = {
    "public": range(WORDINGS - 1),
    "private": range(WORDINGS - 1, WORDINGS),
    "all": range(WORDINGS),
}


def question(
    rng: np.random.Generator,
    packs: Sequence[str],
    kind: Kind,
    skills: Sequence[str] = tuple(SKILLS),
    wordings: Which = "all",
) -> Question:
    """Draw a question of one of the skills, about one of the packs, in one of the wordings."""
    skill = one(rng, skills)
    return SKILLS[skill](rng, packs, kind, one(rng, _WORDINGS[wordings]))
