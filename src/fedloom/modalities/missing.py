"""A share of the examples loses its picture or its text.

                    picture + text + question          picture + question         question alone
what = "image"      text + question                    question                   stays
what = "text"       picture + question                 stays                      stays
what = "either"     one of these two, by a fair coin   question                   stays
what = "each"       picture and text each on their own, with probability ``rate``: both may go

The question asks, and always stays; so do pictures and texts to choose from, which are answers.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from fedloom.core.contracts import Half, Modality, Sample, Seat
from fedloom.core.errors import FedloomError

Rate = Annotated[float, Field(ge=0, le=1)]
What = Literal["image", "text", "either", "each"]
Parts = tuple[str, ...]

MODALITIES = ("image", "text")


def missing(rate: Rate = 0.4, what: What = "either", test_rate: Rate = 0.0) -> Modality:
    """A share of the examples loses its picture or its text.

    ``rate``: the probability with which a training example loses something; ``test_rate``: that of an example that is
    measured on, 0 unless it is set, since FedMLLM trains with missing modalities and tests with both (arXiv
    2411.14717). ``what`` goes:

    - ``image``, ``text``: this one, from examples that have it. A picture stays where no word is left, text or
      question, and a text where no picture is left.
    - ``either``: one of the two, by a fair coin, never both, as in FediLoRA (arXiv 2509.06984); of an example that can
      lose but one of them, that one.
    - ``each``: picture and text on their own, each with this probability, so that both may go and the example stays;
      FedMLLM's released code draws so, with rates 0.3, 0.4 and 0.5.

    Examples are drawn one by one: about ``rate`` of them, where FediLoRA takes exactly ``int(rate * n)`` of a client's.
    So what an example lacks depends on the experiment's seed, its half and its id alone, and not on who holds it; and
    what is missing at a rate is missing at every higher one.

    Raises:
        FedloomError: when the data is there: no example of a half has anything that it could lose.
    """
    rates: dict[Half, float] = {"train": rate, "test": test_rate}

    def see(sample: Sample, seat: Seat, rng: np.random.Generator) -> Sample:
        able, drawn = losable(sample, what), rng.random(2)
        if what == "each":
            gone = tuple(part for part in able if drawn[MODALITIES.index(part)] < rates[seat.half])
        else:
            gone = able if drawn[0] < rates[seat.half] else ()
            gone = gone if len(gone) < 2 else (gone[int(drawn[1] >= 0.5)],)
        images = None if "image" in gone else sample.images
        return replace(sample, images=images, text=None if "text" in gone else sample.text)

    def check(half: Half, samples: Sequence[Sample]) -> None:
        if rates[half] and samples and not any(losable(sample, what) for sample in samples):
            raise _nothing_to_lose(half, samples, what)

    return Modality(see, check, plain=not any(rates.values()))


def losable(sample: Sample, what: What) -> Parts:
    """The modalities that a sample can lose, ``"image"`` before ``"text"``."""
    has = {"image": bool(sample.images), "text": bool(sample.text)}
    if what == "each":
        return tuple(part for part in MODALITIES if has[part])
    left = {"image": has["text"] or bool(sample.question), "text": has["image"]}
    return tuple(part for part in MODALITIES if what in (part, "either") and has[part] and left[part])


def _nothing_to_lose(half: Half, samples: Sequence[Sample], what: What) -> FedloomError:
    fitting = [f"{other!r}" for other in ("image", "text", "each") if any(losable(one, other) for one in samples)]
    fix = f"Set modality.what to {' or '.join(fitting)}" if fitting else "Choose another task"
    whose, key = ("training", "rate") if half == "train" else ("test", "test_rate")
    lost = "image or text" if what in ("either", "each") else what
    return FedloomError(
        f"modality.what = {what!r}: no {whose} example has {lost} to lose, and something else that is left. {fix}, or "
        f"set modality.{key} = 0."
    )
