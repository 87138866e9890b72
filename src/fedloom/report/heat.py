"""A comparison's table of two ways as a picture: darker where the score is higher, the best of a column framed."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fedloom.report.pivot import Pivot
from fedloom.report.svg import INK, PAPER, SERIES, STYLE, plain

LONGEST = 40
"""A longer name of a line or a column is cut."""

UPRIGHT = 6
"""Where a column's name has more letters, all are slanted, so that none lies over its neighbour."""

SLANTED: dict[str, Any] = {"rotation": 35, "ha": "left", "va": "bottom", "rotation_mode": "anchor"}


def heat(found: Pivot) -> Figure:
    """Mean final score of each place in points, shaded from the lowest to the highest of the whole table; a frame: the
    best of its column; a thin one: within the noise of it."""
    entries = [[line.entries[column] for column in found.columns] for line in found.lines]
    values = np.array([[np.nan if (mean := one.stat.mean) is None else 100 * mean for one in row] for row in entries])
    marks = [[one.mark for one in row] for row in entries]
    return shaded(values, [line.name for line in found.lines], found.columns, marks)


def shaded(
    values: "np.ndarray[Any, Any]",
    rows: Sequence[str],
    columns: Sequence[str],
    marks: Sequence[Sequence[str]] = (),
    limits: tuple[float, float] | None = None,
) -> Figure:
    """A table ``[rows, columns]`` as a picture: each number with a decimal, shaded from the lowest to the highest or
    between ``limits``; nothing where there is none (nan). ``marks``: ``best`` and ``near`` are framed."""
    low, high = limits or (float(np.nanmin(values)), float(np.nanmax(values)))
    with rc_context(STYLE):
        figure = Figure(figsize=(2.9 + 0.52 * len(columns), 0.8 + 0.25 * len(rows)), layout="constrained")
        axes = figure.subplots()
        for row, column in np.ndindex(*values.shape):
            if np.isnan(values[row, column]):
                continue
            shade = float((values[row, column] - low) / max(high - low, 1e-9))
            _place(axes, row, column, shade, marks[row][column] if marks else "")
            ink = PAPER if shade > 0.55 else INK
            text = f"{values[row, column]:.1f}"
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color=ink)
        axes.set_xlim(-0.5, len(columns) - 0.5)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        names = [plain(column, longest=LONGEST) for column in columns]
        axes.xaxis.tick_top()
        axes.set_xticks(range(len(columns)), names, **(SLANTED if max(map(len, names)) > UPRIGHT else {}))
        axes.set_yticks(range(len(rows)), [plain(row, longest=LONGEST) for row in rows])
        for spine in axes.spines.values():
            spine.set_visible(False)
    return figure


def _place(axes: Axes, row: int, column: int, shade: float, mark: str) -> None:
    edge = {"best": (INK, 1.8), "near": (INK, 0.6)}.get(mark, ("none", 0.0))
    corner = (column - 0.47, row - 0.45)
    axes.add_patch(
        Rectangle(
            corner, 0.94, 0.9, facecolor=(*to_rgb(SERIES[0]), 0.06 + 0.9 * shade), edgecolor=edge[0], linewidth=edge[1]
        )
    )
