"""What the rules share: what an example can lose, and who of many is drawn."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from fedloom.core.contracts import Half, Sample
from fedloom.core.errors import FedloomError

Rate = Annotated[float, Field(ge=0, le=1)]
What = Literal["image", "text", "either", "each"]
Parts = tuple[str, ...]

MODALITIES = ("image", "text")


def having(sample: Sample) -> Parts:
    """The modalities that a sample has, ``"image"`` before ``"text"``."""
    has = {"image": bool(sample.images), "text": bool(sample.text)}
    return tuple(part for part in MODALITIES if has[part])


def without(sample: Sample, gone: Collection[str]) -> Sample:
    """The sample without some of its modalities."""
    images = None if "image" in gone else sample.images
    return replace(sample, images=images, text=None if "text" in gone else sample.text)


def only(sample: Sample, held: Collection[str]) -> Sample:
    """The sample with no other modalities than those ``held``."""
    return without(sample, [part for part in MODALITIES if part not in held])


def losable(sample: Sample, what: What) -> Parts:
    """The modalities that a sample can lose, ``"image"`` before ``"text"``."""
    if what == "each":
        return having(sample)
    has = having(sample)
    left = {"image": "text" in has or bool(sample.question), "text": "image" in has}
    return tuple(part for part in has if what in (part, "either") and left[part])


def drawn(sample: Sample, what: What, rate: float, rng: np.random.Generator) -> Parts:
    """Which modalities the draw at ``rate`` hits, from the first two numbers of the sample's own stream: what is hit at
    a rate is hit at every higher one."""
    able, numbers = losable(sample, what), rng.random(2)
    if what == "each":
        return tuple(part for part in able if numbers[MODALITIES.index(part)] < rate)
    hit = able if numbers[0] < rate else ()
    return hit if len(hit) < 2 else (hit[int(numbers[1] >= 0.5)],)


def check_losable(half: Half, samples: Sequence[Sample], what: What, rate: float) -> None:
    """Refuse a half of which no example has anything to lose.

    Raises:
        FedloomError: naming ``modality.what``, and what fits.
    """
    if not rate or not samples or any(losable(sample, what) for sample in samples):
        return
    fitting = [f"{other!r}" for other in ("image", "text", "each") if any(losable(one, other) for one in samples)]
    fix = f"Set modality.what to {' or '.join(fitting)}" if fitting else "Choose another task"
    whose, key = ("training", "rate") if half == "train" else ("test", "test_rate")
    lost = "image or text" if what in ("either", "each") else what
    raise FedloomError(
        f"modality.what = {what!r}: no {whose} example has {lost} to lose, and something else that is left. {fix}, or "
        f"set modality.{key} = 0."
    )


def check_both(name: str, half: Half, samples: Sequence[Sample]) -> None:
    """Refuse training examples that have no pictures, or no texts: clients could not hold one of the two alone; and
    an example with one of them and no question, of which a client that holds the other would have nothing.

    Raises:
        FedloomError: naming the rule and what is not there.
    """
    found = {part for sample in samples for part in having(sample)}
    if half == "train" and samples and (lacking := [part for part in MODALITIES if part not in found]):
        raise FedloomError(
            f"modality {name!r}: no training example has {' or '.join(lacking)}, and clients are to hold images or "
            "texts alone. Fix: choose a task whose examples have both, such as icons-memes, or set modality = "
            "'missing' with modality.what to what is there."
        )
    for sample in samples if half == "train" else ():
        if len(has := having(sample)) == 1 and not sample.question:
            raise FedloomError(
                f"modality {name!r}: example {sample.id!r} has {has[0]} alone and no question: where it is taken away, "
                "nothing is asked. Fix: choose a task whose examples all have a question or both modalities, or set "
                "modality = 'missing'."
            )
