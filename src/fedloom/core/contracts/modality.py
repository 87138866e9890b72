"""Which modalities of a sample are there, orthogonal to who holds what."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fedloom.core.contracts.data import Sample

Half = Literal["train", "test"]


@dataclass(frozen=True)
class Seat:
    """Where a sample is used: the ``client`` that holds it, by its name and by its ``number`` among ``clients``, the
    ``half`` it is in (``"test"``: what is measured on, a validation part too), and the ``round`` of the turn that
    trains on it: 0 before the first, and of the test half, which is the same in every round.
    """

    client: str
    number: int
    clients: int
    half: Half
    round: int = 0


def _anything(half: Half, samples: Sequence[Sample]) -> None:
    return None


def _always(round: int) -> int:
    return 0


@dataclass(frozen=True)
class Modality:
    """``see(sample, seat, rng)``: the sample as it is there, with ``None`` for what is missing; id, answer and choices
    stay. ``rng`` is a stream named by the experiment's seed, the half and the sample's id, so that every machine sees
    the same, in whatever order. ``check(half, samples)``: refuses samples to which the rule could do nothing.
    ``plain``: it changes nothing, and is not asked.

    ``form(round)``: the number of the form in which training examples are seen in a round (one form by default). Rounds
    of one number see the same: the rule is asked with the first of them in the seat, and each form has streams of its
    own. All that an experiment's rounds can show is looked at before the first of them.
    """

    see: Callable[[Sample, Seat, np.random.Generator], Sample]
    check: Callable[[Half, Sequence[Sample]], None] = _anything
    plain: bool = False
    form: Callable[[int], int] = _always
