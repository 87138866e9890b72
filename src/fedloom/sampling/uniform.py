"""Uniform sampling without replacement."""

from collections.abc import Sequence

import numpy as np

from fedloom.core.contracts import ClientInfo, Sampler
from fedloom.sampling._common import Fraction, drawn, size_of


def uniform(fraction: Fraction = 1.0) -> Sampler:
    """Every client is as likely as any other: a cohort of ``fraction`` of them, at least one, without replacement."""

    def sample(clients: Sequence[ClientInfo], round: int, rng: np.random.Generator) -> list[ClientInfo]:
        return drawn(clients, size_of(fraction, len(clients)), rng)

    return sample
