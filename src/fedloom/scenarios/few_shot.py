"""A few examples of each class for each client."""

from typing import Annotated

import numpy as np
from pydantic import Field

from fedloom.core.contracts import Scenario

Shots = Annotated[int, Field(ge=1)]


def few_shot(shots: Shots = 16, disjoint: bool = False, by: str = "label") -> Scenario:
    """Few-shot: each client has ``shots`` examples of each class, or with ``disjoint`` of each class of its own.

    With ``disjoint`` (the pathological split) the classes are dealt evenly, in an order that is drawn, and each lies
    with one client. Of a class that has too few, whoever shares it has as many as the others. What is left over nobody
    holds. The test half is dealt whole: evenly, or each class to its client. The splits ``iid - fs n`` and ``noniid -
    pat - fs n`` of FLoRA's code (arXiv 2404.15182).
    """

    def proportions(sizes: np.ndarray, clients: int, rng: np.random.Generator) -> np.ndarray:
        held = np.ones((len(sizes), clients))
        if disjoint:
            owners = np.empty(len(sizes), dtype=int)
            owners[rng.permutation(len(sizes))] = np.arange(len(sizes)) % clients
            held = np.eye(clients)[owners]
        each = np.minimum(shots, sizes // held.sum(axis=1))
        shares: np.ndarray = held * (each / np.maximum(sizes, 1))[:, None]
        return shares

    return Scenario(by, proportions, partial=True)
