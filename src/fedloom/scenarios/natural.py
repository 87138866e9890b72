"""Data as it lies: whoever made it holds it."""

import numpy as np

from fedloom.core.contracts import Scenario
from fedloom.core.errors import FedloomError


def natural(by: str = "pack") -> Scenario:
    """Natural clients: each value of the meta field ``by`` is one client's data.

    With fewer clients than groups, whole groups are dealt so that clients are about equally large: the largest group
    first, each to the client that holds least so far (Graham, 1969, longest processing time first). Clients are
    numbered in the order of their first group.

    Raises:
        FedloomError: more clients than groups (when the groups are dealt).
    """

    def proportions(sizes: np.ndarray, clients: int, rng: np.random.Generator) -> np.ndarray:
        if clients > len(sizes):
            raise FedloomError(
                f"scenario 'natural': {clients} clients but only {len(sizes)} groups of {by!r}; set scenario.clients "
                f"to at most {len(sizes)}, or choose 'dirichlet' or 'iid', which divide groups."
            )
        held = np.zeros((len(sizes), clients))
        load = np.zeros(clients)
        for group in np.argsort(-sizes, kind="stable"):
            client = load.argmin()
            held[group, client] = 1
            load[client] += sizes[group]
        return held[:, np.argsort(held.argmax(axis=0), kind="stable")]

    return Scenario(by=by, proportions=proportions)
