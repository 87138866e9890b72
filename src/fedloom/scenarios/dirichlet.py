"""Label skew from a Dirichlet distribution."""

import numpy as np

from fedloom.core.contracts import Scenario
from fedloom.core.errors import FedloomError


def dirichlet(alpha: float = 0.5, by: str = "label") -> Scenario:
    """Group skew: each group's examples are shared as p_g ~ Dirichlet(alpha, ..., alpha) over the clients.

    Small ``alpha``: a group lies with few clients; large: evenly with all. Yurochkin et al., "Bayesian nonparametric
    federated learning of neural networks" (ICML 2019), section 4.

    Raises:
        FedloomError: ``alpha`` is not above 0.
    """
    if not 0 < alpha < float("inf"):
        raise FedloomError(f"scenario 'dirichlet': alpha = {alpha}: expected a finite number above 0, such as 0.5.")

    def proportions(sizes: np.ndarray, clients: int, rng: np.random.Generator) -> np.ndarray:
        return rng.dirichlet(np.full(clients, alpha), size=len(sizes))

    return Scenario(by=by, proportions=proportions)
