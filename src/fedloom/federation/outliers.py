"""Which replies of a round moved out of all proportion to the others, and which moved farthest.

    expected_k = median_j( |D_j| max(1, n_k / n_j) )      D_j: what client j changed, n_j: the steps it was given
    odd:  |D_k| > factor expected_k

A client that was given more steps may move farther; one that was given fewer may move as far. The median is over those
who moved at all, and of an even number the upper one: as long as attackers are fewer than half, it is at most what an
honest client moved, and no honest client is odd that is within ``factor`` of the others.
"""

import math
from dataclasses import dataclass, field

import numpy as np
import torch

from fedloom.core.contracts import Parcel, Tree

FEWEST = 3
"""Of fewer clients that moved none can be told from the other."""


@dataclass
class Lengths:
    """The Euclidean length of each slot of the replies so far; that of slot ``adapter`` is its change's.

    ``steps``: the optimiser steps that each client of the cohort is given. ``factor``: 0 has none be odd. ``bounded``:
    slots that may be of any length, as ``Reduce`` has it.
    """

    factor: float
    steps: dict[str, int]
    bounded: tuple[str, ...] = ()
    found: dict[str, dict[str, float]] = field(default_factory=dict)

    def add(self, client: str, reply: Parcel, start: Tree) -> None:
        """Take a reply in; ``start``: the shared part of the adapter that the client began from."""
        for slot, tree in reply.trees.items():
            if slot not in self.bounded:
                self.found.setdefault(slot, {})[client] = _length(tree, start if slot == "adapter" else {})

    def drop(self, client: str) -> None:
        """Forget a reply that does not count."""
        for lengths in self.found.values():
            lengths.pop(client, None)

    def odd(self, client: str, suspect: bool = False) -> str:
        """Why a client's reply is out of proportion, in words; empty: it is not. That of a ``suspect`` is where too few
        others moved to tell."""
        if not self.factor:
            return ""
        for slot, lengths in self.found.items():
            own, expected = lengths.get(client, 0.0), self._expected(slot, client)
            moved = "moved the adapter by" if slot == "adapter" else f"sent a slot {slot!r} of length"
            if suspect and own > 0 and math.isinf(expected):
                return f"it {moved} {own:.3g}; it was out of proportion before, and too few others moved to tell."
            if own > self.factor * expected:
                return (
                    f"it {moved} {own:.3g}, where {expected:.3g} is to be expected from the others: more than "
                    f"{self.factor:g} times as much (engine.outliers)."
                )
        return ""

    @property
    def farthest(self) -> str:
        """Who moved farthest, measured by what was to be expected of it."""
        share: dict[str, float] = {}
        for slot, lengths in self.found.items():
            for client, own in lengths.items():
                far = own / expected if (expected := self._expected(slot, client, 1)) else 0.0
                share[client] = max(share.get(client, 0.0), math.inf if math.isnan(far) else far)
        return max(share, key=lambda client: share[client])

    def _expected(self, slot: str, client: str, fewest: int = FEWEST) -> float:
        """How far a client would be expected to move; of too few that moved, any distance."""
        moved = {name: own for name, own in self.found[slot].items() if own > 0}
        if len(moved) < fewest:
            return math.inf if fewest > 1 else 0.0
        given = np.array([max(1, self.steps[name]) for name in moved])
        more = np.maximum(1.0, max(1, self.steps[client]) / given) if slot == "adapter" else 1.0
        expected = np.array([*moved.values()]) * more
        return float(np.partition(expected, len(moved) // 2)[len(moved) // 2])


def _length(tree: Tree, start: Tree) -> float:
    """The Euclidean length of ``tree - start`` over all entries; infinite where an entry is. Without a ``start``, that
    of ``tree``."""
    floats = ((name, value) for name, value in tree.items() if value.is_floating_point())
    changes = (value - start[name] if start else value for name, value in floats)
    parts = [torch.linalg.vector_norm(change.reshape(-1), dtype=torch.float64) for change in changes]
    found = float(torch.stack(parts).norm()) if parts else 0.0
    return math.inf if math.isnan(found) else found
