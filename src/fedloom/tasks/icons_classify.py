"""icons-classify: name the icon, among as many classes as Icon645 has (Lu et al., 2021)."""

from typing import Annotated

import numpy as np
from PIL import Image
from pydantic import Field

from fedloom.core import limits
from fedloom.core.contracts import Data, Sample, Task
from fedloom.core.errors import FedloomError
from fedloom.core.seeds import Seeds
from fedloom.tasks._classes import Classes, New, classed
from fedloom.tasks._common import check_names
from fedloom.tasks._icons import packs as icons
from fedloom.tasks._icons.deal import INKS, one
from fedloom.tasks._icons.packs import PACKS, PRIVATE
from fedloom.tasks._icons.scene import Item, Scene, draw
from fedloom.tasks._icons.words import spoken
from fedloom.tasks._prompts import read

Shots = Annotated[int, Field(ge=1)]
Number = Annotated[int, Field(ge=0)]

NAME = "icons-classify"
QUESTION = "What icon is this?"
TURN = 12.0
"""Most degrees that a picture is turned."""


def icons_classify(
    packs: tuple[str, ...] = tuple(PRIVATE),
    train_shots: Shots = 1,
    test_shots: Shots = 1,
    classes: Number = 0,
    prompts: str = "icons",
    new: New = 0.0,
    seed: int = 0,
) -> Task:
    """Name the drawn icon: 377 classes, a few pictures of each from every pack that draws it.

    Pictures differ in colour, size and place and are turned a little; the two halves are drawn from different streams.
    ``classes``: so many of them, which ``seed`` draws (0: all).
    ``prompts`` and ``new`` are those of ``image-folder``. Fields to partition by: ``label``, ``pack``.

    Raises:
        FedloomError: an unknown pack or prompts, or more classes than there are; when the data are loaded, a number of
            them or a share of new ones that leaves fewer than two of either kind.
    """
    check_names(NAME, "packs", packs, tuple(PACKS))
    described, every = read(prompts), icons.classes()
    if classes > len(every):
        raise FedloomError(f"task.classes = {classes}: expected at most the {len(every)} that there are, or 0 for all.")
    drawn = Seeds(seed).numpy(f"tasks/{NAME}/classes").permutation(len(every))[: classes or len(every)]
    known = Classes(NAME, tuple(spoken(every[place]) for place in sorted(drawn)), described, new, QUESTION)

    def load() -> Data:
        return Data(_half("train", packs, train_shots, seed, known), _half("test", packs, test_shots, seed, known))

    return classed(NAME, load, lambda: known.names, described, new)


def _half(half: str, packs: tuple[str, ...], shots: int, seed: int, known: Classes) -> tuple[Sample, ...]:
    drawn = {pack: [thing for thing in icons.things(pack) if spoken(thing) in known.labels] for pack in packs}
    limits.draw(shots * sum(map(len, drawn.values())))
    samples = []
    for pack in packs:
        for thing in drawn[pack]:
            limits.tick()
            rng = Seeds(seed).numpy(f"tasks/{NAME}/{half}/{pack}/{thing}")
            samples += [
                known.sample(f"{half}-{pack}-{thing}-{shot}", _picture(rng, pack, thing), spoken(thing), pack=pack)
                for shot in range(shots)
            ]
    return tuple(samples)


def _picture(rng: np.random.Generator, pack: str, thing: str) -> Image.Image:
    size = float(rng.uniform(0.7, 0.95))
    x, y = 0.5 + rng.uniform(-1, 1, size=2) * (1 - size) / 2
    angle = float(rng.uniform(-TURN, TURN))
    item = Item(thing, pack, one(rng, INKS), float(x), float(y), size)
    return draw(Scene(items=(item,)), warp=lambda mask: mask.rotate(angle, Image.Resampling.BILINEAR))
