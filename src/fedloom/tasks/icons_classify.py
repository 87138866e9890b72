"""icons-classify: name the icon, among as many classes as Icon645 has (Lu et al., 2021)."""

from typing import Annotated

import numpy as np
from PIL import Image
from pydantic import Field

from fedloom.core import limits
from fedloom.core.contracts import Data, Example, Sample, Task
from fedloom.core.seeds import Seeds
from fedloom.tasks._common import asked, check_names, exact, literal, prompt
from fedloom.tasks._icons.deal import INKS, one
from fedloom.tasks._icons.packs import PACKS, PRIVATE, classes, things
from fedloom.tasks._icons.scene import Item, Scene, draw
from fedloom.tasks._icons.words import spoken

Shots = Annotated[int, Field(ge=1)]

NAME = "icons-classify"
QUESTION = "What icon is this?"
CAPTION = "a {} icon"
TURN = 12.0
"""Most degrees that a picture is turned."""


def icons_classify(
    packs: tuple[str, ...] = tuple(PRIVATE), train_shots: Shots = 1, test_shots: Shots = 1, seed: int = 0
) -> Task:
    """Name the drawn icon: 377 classes, a few pictures of each from every pack that draws it.

    Pictures differ in colour, size and place and are turned a little; the two halves are drawn from different streams.

    Raises:
        FedloomError: an unknown pack.
    """
    check_names(NAME, "packs", packs, tuple(PACKS))

    def load() -> Data:
        return Data(_half("train", packs, train_shots, seed), _half("test", packs, test_shots, seed))

    return Task(NAME, "accuracy", load, word, exact, _names)


def word(sample: Sample) -> Example:
    """``<image>\\nQuestion: What icon is this? Answer:``, and ``a {} icon`` for a contrastive model.

    The classes are the choices; they are too many to stand in the prompt.
    """
    images = sample.images or ()
    text = prompt(len(images), sample.text, asked(sample.question))
    caption = f"{literal(sample.text)} {CAPTION}" if sample.text else CAPTION
    return Example(sample.id, images, text, sample.choices, sample.answer, caption)


def _names() -> tuple[str, ...]:
    return tuple(spoken(thing) for thing in classes())


def _half(half: str, packs: tuple[str, ...], shots: int, seed: int) -> tuple[Sample, ...]:
    choices = _names()
    limits.draw(shots * sum(len(things(pack)) for pack in packs))
    samples = []
    for pack in packs:
        for thing in things(pack):
            limits.tick()
            rng = Seeds(seed).numpy(f"tasks/{NAME}/{half}/{pack}/{thing}")
            samples += [
                Sample(
                    id=f"{half}-{pack}-{thing}-{shot}",
                    images=(_picture(rng, pack, thing),),
                    text=None,
                    question=QUESTION,
                    choices=choices,
                    answer=spoken(thing),
                    meta={"pack": pack, "label": spoken(thing)},
                )
                for shot in range(shots)
            ]
    return tuple(samples)


def _picture(rng: np.random.Generator, pack: str, thing: str) -> Image.Image:
    size = float(rng.uniform(0.7, 0.95))
    x, y = 0.5 + rng.uniform(-1, 1, size=2) * (1 - size) / 2
    angle = float(rng.uniform(-TURN, TURN))
    item = Item(thing, pack, one(rng, INKS), float(x), float(y), size)
    return draw(Scene(items=(item,)), warp=lambda mask: mask.rotate(angle, Image.Resampling.BILINEAR))
