"""Which modalities of a sample are there, orthogonal to who holds it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fedloom.core.contracts.data import Sample


@dataclass(frozen=True)
class Seat:
    """Where a sample is used: by which client (by its name, and its number among ``clients``), in which half, in which
    round (0: before the first, and in evaluation)."""

    client: str
    number: int
    clients: int
    half: Literal["train", "test"]
    round: int = 0


@dataclass(frozen=True)
class Modality:
    """``see(sample, seat, rng)``: the sample as it is there, with ``None`` for what is missing. ``rng`` is a stream
    named by the experiment's seed, the half and the sample's id, so that every machine sees the same. ``plain``: it
    changes nothing."""

    see: Callable[[Sample, Seat, np.random.Generator], Sample]
    plain: bool = False
