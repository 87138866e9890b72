"""A turn's steps: which examples each of them sees, and the rate that they are taken with."""

import math
from collections.abc import Iterator

import numpy as np

from fedloom.core import shares
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
    """The rate that the turns of a round begin with.

    With W the rounds of the warm-up, ``warmup`` of all rounds and rounded up, but at least 1 and fewer than all::

        lr r / W                                                  rounds r = 1 ... W
        lr                                                        later ones, "constant"
        lr (0.1 + 0.9 (1 + cos(pi (r - W) / (R - W))) / 2)        later ones of R in all, "cosine"

    So the first round of a warm-up has a rate above zero, and one of at most a single round changes nothing.
    """
    if rounds == 1:
        return table.lr
    warm = min(max(1, shares.count(table.warmup, rounds, "up")), rounds - 1)
    if round <= warm:
        return table.lr * round / warm
    if table.schedule == "constant":
        return table.lr
    fall = 0.5 * (1 + math.cos(math.pi * (round - warm) / (rounds - warm)))
    return table.lr * (0.1 + 0.9 * fall)


def step_rate(table: ClientTable, peak: float, step: int, steps: int) -> float:
    """The rate of a step of a turn, ``step`` from 0: ``peak``, that of the round, in every one.

    With ``turn_schedule = "cosine"`` it is ``peak (1 + cos(pi step / steps)) / 2``: ``peak`` in the first step, and
    zero only after the last.
    """
    if table.turn_schedule == "constant":
        return peak
    return peak * 0.5 * (1 + math.cos(math.pi * step / steps))
