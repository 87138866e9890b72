"""Everyone holds the same mixture."""

import numpy as np

from fedloom.core.contracts import Scenario


def iid() -> Scenario:
    """Identically distributed: all examples are shuffled and dealt evenly."""

    def proportions(sizes: np.ndarray, clients: int, rng: np.random.Generator) -> np.ndarray:
        return np.full((len(sizes), clients), 1 / clients)

    return Scenario(by=None, proportions=proportions)
