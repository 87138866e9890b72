"""Sampling of ever fewer clients."""

import math
from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

from fedloom.core.contracts import ClientInfo, Sampler
from fedloom.sampling._common import Fraction, drawn, size_of


def dynamic(
    fraction: Fraction = 1.0,
    beta: Annotated[float, Field(ge=0)] = 0.1,
    floor: Annotated[int, Field(ge=1)] = 2,
    start: Annotated[int, Field(ge=0)] = 0,
) -> Sampler:
    """Cohorts that shrink round by round: ``fraction * exp(-beta t)`` of the clients, but at least ``floor`` of them.

    Ji et al. 2020 (arXiv 2003.09603; rate and floor of two as recalled, not confirmed). t is ``start`` in the first
    round and grows by one a round: with 0 the first round has the full fraction, with 1, as others count, it decays
    from the first round on (of 20 clients at ``beta`` 0.1, 20 or 18 begin). Numbers are rounded, halves up. Every
    client is as likely as any other. Where there are no more than ``floor`` clients, all take part.
    """

    def sample(clients: Sequence[ClientInfo], round: int, rng: np.random.Generator) -> list[ClientInfo]:
        count = max(floor, size_of(fraction * math.exp(-beta * (start + round - 1)), len(clients)))
        return drawn(clients, min(count, len(clients)), rng)

    return sample
