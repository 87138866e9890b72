"""Weights of which none has more than its part, by hand and by what must always hold."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedloom.methods._capped import capped


def of(*weights: float, cap: float = 2.0) -> list[float]:
    found: list[float] = capped(torch.tensor(weights, dtype=torch.float64), cap).tolist()
    return found


@pytest.mark.parametrize(
    ("weights", "cap", "expected"),
    [
        ((1, 2, 3), 2, (1, 2, 3)),  # at most 2/3 of 6
        ((1, 1, 8), 2, (1, 1, 4)),  # 4 is 2/3 of 6
        ((1, 1, 1, 1, 100), 2, (1, 1, 1, 1, 8 / 3)),  # 2/5 of 20/3
        ((1, 1, 1, 100, 90), 2, (1, 1, 1, 6, 6)),  # each 2/5 of 15
        ((1, 1, 1, 1, 100), 1, (1, 1, 1, 1, 1)),
        ((1e-30, 1e-30, 1e-30, 1e300), 2, (1e-30, 1e-30, 1e-30, 3e-30)),
        ((0, 0, 0, 0, 7), 2, (0.15, 0.15, 0.15, 0.15, 0.4)),
        ((0, 0, 0, 5, 7), 2, (0.2 / 3, 0.2 / 3, 0.2 / 3, 0.4, 0.4)),
        ((0, 0, 0), 2, (0, 0, 0)),
        ((1, 1e30), 2, (1, 1e30)),  # two clients: no part is too much
        ((1, 1, 1e30), 0, (1, 1, 1e30)),
        ((7,), 1, (7,)),
        ((0, 5e-324), 1.5, (0, 0)),  # three quarters of the smallest number there is cannot be told from all of it
    ],
)
def test_by_hand(weights: tuple[float, ...], cap: float, expected: tuple[float, ...]) -> None:
    assert of(*weights, cap=cap) == pytest.approx(expected, rel=1e-12)


numbers = st.floats(0, 1e300, allow_nan=False, allow_infinity=False, allow_subnormal=False)


@given(st.lists(numbers, min_size=1, max_size=8), st.floats(1, 9))
def test_none_has_more_than_its_part_and_who_has_less_keeps_its_proportion(weights: list[float], cap: float) -> None:
    found = np.array(of(*weights, cap=cap))
    if not sum(weights):
        assert not found.any()
        return
    most = max(cap / len(weights), 1 / len(weights))
    shares = found / found.sum()
    assert (shares <= most * (1 + 1e-9)).all()
    free = [n for n, share in enumerate(shares) if share < most * (1 - 1e-9) and weights[n] > 0]
    assert all(found[n] == weights[n] for n in free)


@given(st.lists(st.lists(numbers, min_size=3, max_size=3), min_size=1, max_size=6))
def test_columns_do_not_see_each_other(rows: list[list[float]]) -> None:
    together = capped(torch.tensor(rows, dtype=torch.float64), 2.0)
    for place in range(3):
        alone = capped(torch.tensor([row[place] for row in rows], dtype=torch.float64), 2.0)
        assert torch.equal(together[:, place], alone)
