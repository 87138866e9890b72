"""Which modalities of a sample are there, orthogonal to who holds what."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fedloom.core.contracts.data import Sample

Half = Literal["train", "test"]


@dataclass(frozen=True)
class Seat:
    """Where a sample is used: the ``client`` that holds it, by its name and by its ``number`` among ``clients``, and
    the ``half`` it is in (``"test"``: what is measured on, a validation part too).

    A sample is the same in every round. A rule by which it is not needs the round here: a turn's examples are asked of
    ``Setup.training_examples`` alone, which would have the rule see them anew.
    """

    client: str
    number: int
    clients: int
    half: Half


def _anything(half: Half, samples: Sequence[Sample]) -> None:
    return None


@dataclass(frozen=True)
class Modality:
    """``see(sample, seat, rng)``: the sample as it is there, with ``None`` for what is missing; id, answer and choices
    stay. ``rng`` is a stream named by the experiment's seed, the half and the sample's id, so that every machine sees
    the same, in whatever order. ``check(half, samples)``: refuses samples to which the rule could do nothing.
    ``plain``: it changes nothing, and is not asked.
    """

    see: Callable[[Sample, Seat, np.random.Generator], Sample]
    check: Callable[[Half, Sequence[Sample]], None] = _anything
    plain: bool = False
