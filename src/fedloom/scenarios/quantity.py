"""Quantity skew: the same mixture everywhere, but not as much of it."""

import numpy as np

from fedloom.core.contracts import Scenario
from fedloom.core.errors import FedloomError


def quantity(alpha: float = 0.5) -> Scenario:
    """Quantity skew: client sizes are q ~ Dirichlet(alpha, ..., alpha) of all examples, which are shuffled first.

    Small ``alpha``: few clients hold nearly everything. Li et al., "Federated learning on non-IID data silos"
    (ICDE 2022), section 4.3.

    Raises:
        FedloomError: ``alpha`` is not above 0.
    """
    if not 0 < alpha < float("inf"):
        raise FedloomError(f"scenario 'quantity': alpha = {alpha}: expected a finite number above 0, such as 0.5.")

    def proportions(sizes: np.ndarray, clients: int, rng: np.random.Generator) -> np.ndarray:
        return np.tile(rng.dirichlet(np.full(clients, alpha)), (len(sizes), 1))

    return Scenario(by=None, proportions=proportions)
