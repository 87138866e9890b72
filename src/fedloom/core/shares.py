"""Whole numbers from shares, as exact as the shares are written.

In floating point 0.29 * 100 is 28.999999999999996, and 0.07 * 100 is 7.000000000000001: cut down or filled up to a
whole number, both are one off. Every share of an experiment that becomes a count goes through ``count``.
"""

from fractions import Fraction
from typing import Literal

Rounding = Literal["down", "nearest", "up"]


def exact(number: float) -> Fraction:
    """The number that a float is written as: 29/100 for 0.29, of which the float itself lies a little short."""
    return Fraction(str(float(number)))


def count(share: float | Fraction, total: int, rounding: Rounding = "nearest") -> int:
    """A share of ``total`` things, in whole things.

    Args:
        share: from 0; a float counts as the decimal number that it is written as.
        total: how many there are in all.
        rounding: ``nearest`` takes halves up.

    Returns:
        ``share * total``, rounded once.
    """
    product = (share if isinstance(share, Fraction) else exact(share)) * total
    if rounding == "down":
        return product.numerator // product.denominator
    if rounding == "up":
        return -(-product.numerator // product.denominator)
    return (2 * product.numerator + product.denominator) // (2 * product.denominator)
