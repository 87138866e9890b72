"""Uniform sampling without replacement."""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

from fedloom.core.contracts import ClientInfo, Sampler


def uniform(fraction: Annotated[float, Field(gt=0, le=1)] = 1.0) -> Sampler:
    """Every client is as likely as any other: a cohort of ``fraction`` of them, at least one, without replacement."""

    def sample(clients: Sequence[ClientInfo], round: int, rng: np.random.Generator) -> list[ClientInfo]:
        count = max(1, round_half_up(fraction * len(clients)))
        return [clients[index] for index in sorted(rng.choice(len(clients), size=count, replace=False))]

    return sample


def round_half_up(value: float) -> int:
    """The nearest whole number; halves go up."""
    return int(value + 0.5)
