"""Counts from shares, against whole-number arithmetic."""

from fractions import Fraction

import pytest

from fedloom.core.shares import Rounding, count, exact


@pytest.mark.parametrize(
    ("share", "total", "rounding", "expected"),
    [
        (0.29, 100, "down", 29),  # 28.999999999999996
        (0.57, 100, "down", 57),
        (0.07, 100, "up", 7),  # 7.000000000000001
        (0.55, 100, "up", 55),
        (0.29, 50, "nearest", 15),  # 14.499999999999998, and a half goes up
        (0.145, 100, "nearest", 15),
        (0.285, 1000, "down", 285),
        (0.1, 25, "nearest", 3),
        (1e-9, 100, "up", 1),
        (1e-9, 100, "down", 0),
        (0.0, 7, "up", 0),
        (1.0, 7, "down", 7),
        (1 / exact(1.5), 3, "nearest", 2),
    ],
)
def test_by_hand(share: float | Fraction, total: int, rounding: Rounding, expected: int) -> None:
    assert count(share, total, rounding) == expected


def test_every_share_of_two_decimals() -> None:
    for hundredths in range(101):
        for total in range(0, 1001, 7):
            whole, rest = divmod(hundredths * total, 100)
            share = hundredths / 100
            assert count(share, total, "down") == whole
            assert count(share, total, "up") == whole + (rest > 0)
            assert count(share, total) == whole + (rest >= 50)
