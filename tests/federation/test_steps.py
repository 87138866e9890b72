"""Which examples the steps of a turn see, and at which rate."""

import math

import numpy as np
import pytest

from fedloom.core.tables import ClientTable
from fedloom.federation import steps


def test_batches_hold_every_example_once_an_epoch_and_the_last_is_smaller() -> None:
    batches = list(steps.batches(5, ClientTable(epochs=2, batch_size=2), np.random.default_rng(0)))
    assert [len(batch) for batch in batches] == [2, 2, 1] * 2
    for epoch in (batches[:3], batches[3:]):
        assert sorted(index for batch in epoch for index in batch) == list(range(5))
    assert batches[:3] != batches[3:]
    table = ClientTable(epochs=9, batch_size=2, max_steps=4)
    assert len(list(steps.batches(5, table, np.random.default_rng(0)))) == 4


def test_cosine_falls_from_the_rate_to_a_tenth_of_it() -> None:
    table = ClientTable(lr=1.0, schedule="cosine")
    rates = [steps.learning_rate(table, number, 5) for number in (1, 3, 5)]
    assert rates == pytest.approx([1.0, 0.55, 0.1])
    assert steps.learning_rate(table, 2, 5) == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi / 4)) / 2)
    assert steps.learning_rate(table, 1, 1) == 1.0
    assert steps.learning_rate(ClientTable(lr=0.3), 4, 5) == 0.3


@pytest.mark.parametrize("size", [1, 2, 3, 7, 99])
@pytest.mark.parametrize("most", [0, 1, 2, 3, 6, 7, 8, 30])
@pytest.mark.parametrize("epochs", [1, 2, 4])
def test_the_examples_that_steps_see_are_known_before(epochs: int, most: int, size: int) -> None:
    table = ClientTable(epochs=epochs, batch_size=size, max_steps=most)
    dealt = steps.batches(7, table, np.random.default_rng(0))
    assert steps.seen(7, table) == len({index for batch in dealt for index in batch})
