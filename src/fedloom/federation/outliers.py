"""Which replies of a round moved out of all proportion to the others, and which moved farthest.

    expected_k = median_j( |D_j| max(1, n_k / n_j) )      D_j: what client j changed, n_j: the steps it was given
    odd:  |D_k| > factor expected_k

A client that was given more steps may move farther, ``MORE`` times at most; one that was given fewer may move as far.
The median is over those who moved at all, and of an even number the upper one: as long as attackers are fewer than
half, it is at most what an honest client moved, and no honest client is odd that is within ``factor`` of the others.

Chance may draw a cohort in which attackers are half. So a run remembers how far its rounds' medians reached, and no
client is expected to move more than ``FARTHER`` times as far, whoever is beside it.
"""

import json
import math
from dataclasses import dataclass, field

import numpy as np
import torch

from fedloom.core.contracts import Parcel, Tree

FEWEST = 3
"""Of fewer clients that moved none can be told from the other."""


MORE = 1000.0
"""A client that was given more steps than this times another's is not expected to move farther for it: a site says
itself how many examples it has."""

FARTHER = 10.0
"""So many times as far as in any round before may a cohort move."""


@dataclass
class Memory:
    """What a run remembers of its replies.

    ``suspects``: clients whose replies were out of proportion. ``reach``: of each slot, the longest median of a round,
    that of slot ``adapter`` for each step.
    """

    suspects: set[str] = field(default_factory=set)
    reach: dict[str, float] = field(default_factory=dict)

    @classmethod
    def read(cls, text: str) -> "Memory":
        """What ``text`` made of one; an empty one of no text."""
        held = json.loads(text) if text else {}
        return cls(set(held.get("suspects", [])), dict(held.get("reach", {})))

    def text(self) -> str:
        """It all, as a checkpoint holds it."""
        return json.dumps({"suspects": sorted(self.suspects), "reach": self.reach}, sort_keys=True)


@dataclass
class Lengths:
    """The Euclidean length of each slot of the replies so far; that of slot ``adapter`` is its change's.

    ``steps``: the optimiser steps that each client of the cohort is given. ``factor``: 0 has none be odd. ``bounded``:
    slots that may be of any length, as ``Reduce`` has it. ``reach``: that of the rounds before.
    """

    factor: float
    steps: dict[str, int]
    bounded: tuple[str, ...] = ()
    reach: dict[str, float] = field(default_factory=dict)
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

    def odd(self, *clients: str) -> dict[str, str]:
        """Those of ``clients`` whose replies are out of proportion, and why, in words."""
        found: dict[str, str] = {}
        for slot, lengths in self.found.items() if self.factor else ():
            here = [client for client in clients if lengths.get(client, 0.0) > 0]
            expected = {steps: self._bound(slot, steps) for steps in {self.steps[client] for client in here}}
            for client in here:
                own, most = lengths[client], expected[self.steps[client]]
                if own > self.factor * most:
                    moved = "moved the adapter by" if slot == "adapter" else f"sent a slot {slot!r} of length"
                    found.setdefault(
                        client,
                        f"it {moved} {own:.3g}, where {most:.3g} is to be expected from others: more than "
                        f"{self.factor:g} times as much (engine.outliers).",
                    )
        return found

    @property
    def farthest(self) -> str:
        """Who moved farthest, measured by what was to be expected of it."""
        share: dict[str, float] = {}
        for slot, lengths in self.found.items():
            for client, own in lengths.items():
                expected = self._expected(slot, self.steps[client])
                far = own / expected if expected else 0.0
                share[client] = max(share.get(client, 0.0), math.inf if math.isnan(far) else far)
        return max(share, key=lambda client: share[client])

    def _bound(self, slot: str, steps: int) -> float:
        """How far a client of so many steps is expected to move at most, from this round where enough moved, and from
        the rounds before; of neither, any distance."""
        enough = sum(own > 0 for own in self.found[slot].values()) >= FEWEST
        given = max(1, steps) if slot == "adapter" else 1
        remembered = FARTHER * given * self.reach[slot] if slot in self.reach else math.inf
        return min(self._expected(slot, steps) if enough else math.inf, remembered)

    def _expected(self, slot: str, steps: int) -> float:
        """How far a client of so many steps would be expected to move, from those who moved; 0 where nobody did."""
        moved = {name: own for name, own in self.found[slot].items() if own > 0}
        if not moved:
            return 0.0
        given = np.array([max(1, self.steps[name]) for name in moved])
        more = np.clip(max(1, steps) / given, 1.0, MORE) if slot == "adapter" else 1.0
        return _upper_median(np.array([*moved.values()]) * more)

    def reached(self) -> dict[str, float]:
        """The reach after this round, whose replies count; slots in which nobody moved keep theirs."""
        found = dict(self.reach)
        for slot, lengths in self.found.items():
            given = {name: max(1, self.steps[name]) if slot == "adapter" else 1 for name in lengths}
            moved = np.array([own / given[name] for name, own in lengths.items() if own > 0])
            if len(moved):
                found[slot] = max(found.get(slot, 0.0), _upper_median(moved))
        return found


def _upper_median(values: np.ndarray) -> float:
    """The median, of an even number the upper one."""
    return float(np.partition(values, len(values) // 2)[len(values) // 2])


def _length(tree: Tree, start: Tree) -> float:
    """The Euclidean length of ``tree - start`` over all entries; infinite where an entry is. Without a ``start``, that
    of ``tree``."""
    floats = ((name, value) for name, value in tree.items() if value.is_floating_point())
    changes = (value - start[name] if start else value for name, value in floats)
    parts = [torch.linalg.vector_norm(change.reshape(-1), dtype=torch.float64) for change in changes]
    found = float(torch.stack(parts).norm()) if parts else 0.0
    return math.inf if math.isnan(found) else found
