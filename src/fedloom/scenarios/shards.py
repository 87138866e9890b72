"""Pathological label skew: a few shards of the sorted data each."""

import numpy as np

from fedloom.core.contracts import Scenario
from fedloom.core.errors import FedloomError


def shards(per_client: int = 2, by: str = "label") -> Scenario:
    """Shards: examples sorted by ``by`` are cut into clients x ``per_client`` equal pieces, ``per_client`` to each.

    McMahan et al., "Communication-efficient learning of deep networks from decentralized data" (AISTATS 2017),
    section 3.

    Raises:
        FedloomError: ``per_client`` is below 1, or there are more shards than examples (when they are dealt).
    """
    if per_client < 1:
        raise FedloomError(f"scenario 'shards': per_client = {per_client}: expected 1 or more.")

    def proportions(sizes: np.ndarray, clients: int, rng: np.random.Generator) -> np.ndarray:
        if clients * per_client > sizes.sum():
            raise FedloomError(
                f"scenario 'shards': {clients} clients x per_client = {per_client} are more shards than the "
                f"{sizes.sum()} examples. Lower either."
            )
        ends = np.cumsum(sizes)
        cuts = np.linspace(0, ends[-1], clients * per_client + 1)
        owners = rng.permutation(np.repeat(np.arange(clients), per_client))
        held: np.ndarray = np.zeros((len(sizes), clients))
        for owner, low, high in zip(owners, cuts, cuts[1:], strict=False):
            held[:, owner] += np.clip(np.minimum(ends, high) - np.maximum(ends - sizes, low), 0, None)
        held /= sizes[:, None]
        return held

    return Scenario(by=by, proportions=proportions)
