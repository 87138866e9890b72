"""Sampling by how much a client holds."""

from collections.abc import Sequence

import numpy as np

from fedloom.core.contracts import ClientInfo, Sampler
from fedloom.sampling._common import Fraction, size_of


def size(fraction: Fraction = 1.0) -> Sampler:
    """Clients with more training examples take part more often: a cohort of ``fraction`` of them, at least one.

    One after the other is drawn, each with a probability proportional to its examples among those that are left, as
    devices are chosen in q-FFL (Li et al. 2020, arXiv 1905.10497; as recalled, there with a plain mean of the replies).
    A method that weights replies by examples counts large clients twice: fix with ``weighting = "uniform"`` where it
    has that. With ``fraction = 1`` everyone takes part.
    """

    def sample(clients: Sequence[ClientInfo], round: int, rng: np.random.Generator) -> list[ClientInfo]:
        held = np.array([client.examples for client in clients], dtype=np.float64)
        count = size_of(fraction, len(clients))
        chosen = rng.choice(len(clients), size=count, replace=False, p=held / held.sum())
        return [clients[index] for index in sorted(chosen)]

    return sample
