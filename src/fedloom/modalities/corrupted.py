"""A share of the examples has a picture or a text that is corrupted, where ``missing`` would take it away.

picture   blur        each is convolved with a Gaussian whose deviation is strength / 8 of the shorter side
          noise       to each value, 0 to 255, a normal deviate of deviation 128 x strength is added
text      shuffled    a share ``strength`` of its words, two at least, change places: none of them stays
          truncated   a share ``strength`` of its words, one at least, goes from its end; the first stays
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from PIL import Image, ImageFilter

from fedloom.core import shares
from fedloom.core.contracts import Half, Modality, Picture, Sample, Seat
from fedloom.core.pictures import open_picture
from fedloom.modalities._draw import Rate, What, check_losable, drawn

How = Literal["blur", "noise"]
Wording = Literal["shuffled", "truncated"]

BLUR = 8
"""At strength 1 the Gaussian's deviation is the shorter side over this."""

NOISE = 128
"""The deviation of noise at strength 1, of values from 0 to 255."""


def corrupted(
    rate: Rate = 0.4,
    what: What = "either",
    image: How = "blur",
    text: Wording = "shuffled",
    strength: Rate = 0.5,
    test_rate: Rate = 0.0,
) -> Modality:
    """A share of the examples has a corrupted picture or text, where ``missing`` would take it away.

    ``rate``, ``what`` and ``test_rate`` draw the very modalities that ``missing`` with these options takes away: so a
    run on corrupted modalities can be laid beside one without them. ``image``: pictures are blurred, or have noise;
    ``text``: its words are shuffled, or cut off at the end; ``strength``, from 0 to 1: how far (see the file's head).
    All is drawn from the example's own stream. A text of one word stays.

    A corrupted picture is kept in memory, three bytes a pixel, also where its task keeps it in a file.

    Raises:
        FedloomError: when the data is there: no example of a half has anything to corrupt.
    """
    rates: dict[Half, float] = {"train": rate, "test": test_rate}

    def see(sample: Sample, seat: Seat, rng: np.random.Generator) -> Sample:
        hit = drawn(sample, what, rates[seat.half], rng)
        if "image" in hit:
            sample = replace(sample, images=tuple(_picture(one, image, strength, rng) for one in sample.images or ()))
        if "text" in hit:
            sample = replace(sample, text=_text(sample.text or "", text, strength, rng))
        return sample

    def check(half: Half, samples: Sequence[Sample]) -> None:
        check_losable(half, samples, what, rates[half])

    return Modality(see, check, plain=strength == 0 or not any(rates.values()))


def _picture(picture: Picture, how: How, strength: float, rng: np.random.Generator) -> Image.Image:
    """A corrupted copy of a picture, in RGB."""
    opened = open_picture(picture)
    if how == "blur":
        return opened.filter(ImageFilter.GaussianBlur(strength * min(opened.size) / BLUR))
    values = np.asarray(opened, dtype=np.float64)
    noisy = values + NOISE * strength * rng.standard_normal(values.shape)
    return Image.fromarray(noisy.round().clip(0, 255).astype(np.uint8))


def _text(text: str, how: Wording, strength: float, rng: np.random.Generator) -> str:
    """A corrupted text, its words divided by single spaces; one of fewer than two words as it is."""
    words = text.split()
    if len(words) < 2:
        return text
    if how == "truncated":
        gone = min(max(1, shares.count(strength, len(words))), len(words) - 1)
        return " ".join(words[:-gone])
    count = max(2, shares.count(strength, len(words)))
    places = rng.permutation(len(words))[:count].tolist()
    moved = list(words)
    for place, other in zip(places, [*places[1:], places[0]], strict=True):
        moved[other] = words[place]
    return " ".join(moved)
