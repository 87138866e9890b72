"""A turn's steps: which examples each of them sees, and the rate that they are taken with."""

import math
from collections.abc import Iterator

import numpy as np

from fedloom.core.tables import ClientTable


def batches(count: int, table: ClientTable, rng: np.random.Generator) -> Iterator[list[int]]:
    """Shuffled batches of every epoch, at most ``max_steps`` in all; a last smaller batch is kept."""
    steps = 0
    for _ in range(table.epochs):
        order = rng.permutation(count).tolist()
        for first in range(0, count, table.batch_size):
            if table.max_steps and steps == table.max_steps:
                return
            yield order[first : first + table.batch_size]
            steps += 1


def seen(count: int, table: ClientTable) -> int:
    """How many of ``count`` examples the steps of a turn see: all, unless ``max_steps`` ends its first epoch."""
    return min(count, table.max_steps * table.batch_size) if table.max_steps else count


def learning_rate(table: ClientTable, round: int, rounds: int) -> float:
    """The rate of a round (from 1): constant, or a cosine over the rounds from ``lr`` down to a tenth of it."""
    if table.schedule == "constant" or rounds == 1:
        return table.lr
    fall = 0.5 * (1 + math.cos(math.pi * (round - 1) / (rounds - 1)))
    return table.lr * (0.1 + 0.9 * fall)
