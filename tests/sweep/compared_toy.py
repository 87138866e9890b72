"""Cells of a comparison of the toy's experiment."""

from collections.abc import Sequence

from fedloom.sweep.cells import Cell, comparison


def cells(source: str, overrides: Sequence[str], axes: Sequence[str], seeds: int) -> list[Cell]:
    return comparison(source, overrides, axes, seeds=seeds).cells()
