"""Each client holds images, texts, both, or a mixture.

p = 0.7     images and texts   0.49        each modality is held with probability p;
            images alone       0.21        a client that holds neither has one of the two of each example,
            texts alone        0.21        drawn example by example
            either             0.09
"""

from collections.abc import Sequence
from functools import cache

import numpy as np

from fedloom.core.contracts import Half, Modality, Sample, Seat
from fedloom.core.seeds import Seeds
from fedloom.modalities._draw import MODALITIES, Parts, Rate, check_both, having, only


def hybrid(p: Rate = 0.7, test_rate: Rate = 0.0, seed: int = 0) -> Modality:
    """Each client holds images with probability p, and texts with probability p.

    A client that holds neither has one of the two of each of its examples, by a fair coin; FedMLLM's released code
    draws so, with ``p`` 0.8, 0.7 and 0.6 (arXiv 2411.14717). ``test_rate``: the probability with which a test example
    is as its client's training examples are; 0: all are complete, as FedMLLM tests.

    What a client holds depends on the experiment's seed and its number among the clients alone, and what it holds at
    ``p`` it holds at every higher one. The question stays.

    Raises:
        FedloomError: when the data is there: examples that have no pictures, or no texts.
    """

    @cache
    def held(number: int) -> Parts:
        numbers = Seeds(seed).numpy("modality/hybrid").random((number + 1, 2))[number]
        return tuple(part for part, drawn in zip(MODALITIES, numbers, strict=True) if drawn < p)

    def see(sample: Sample, seat: Seat, rng: np.random.Generator) -> Sample:
        tested, coin = rng.random(2)
        if seat.half == "test" and tested >= test_rate:
            return sample
        return only(sample, held(seat.number) or _one(sample, coin))

    def check(half: Half, samples: Sequence[Sample]) -> None:
        check_both("hybrid", half, samples)

    return Modality(see, check, plain=p == 1)


def _one(sample: Sample, coin: float) -> Parts:
    """One of the modalities that a sample has."""
    has = having(sample)
    return has if len(has) < 2 else (has[int(coin >= 0.5)],)
