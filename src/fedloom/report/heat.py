"""A comparison's table of two ways as a picture: darker where the score is higher, the best of a column framed."""

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
    values = np.array(
        [
            [np.nan if (mean := line.entries[c].stat.mean) is None else mean for c in found.columns]
            for line in found.lines
        ]
    )
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    with rc_context(STYLE):
        figure = Figure(figsize=(2.9 + 0.52 * len(found.columns), 0.8 + 0.25 * len(found.lines)), layout="constrained")
        axes = figure.subplots()
        for row, column in np.ndindex(*values.shape):
            if np.isnan(values[row, column]):
                continue
            shade = float((values[row, column] - low) / max(high - low, 1e-9))
            _place(axes, row, column, shade, found.lines[row].entries[found.columns[column]].mark)
            ink = PAPER if shade > 0.55 else INK
            text = f"{100 * values[row, column]:.1f}"
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color=ink)
        axes.set_xlim(-0.5, len(found.columns) - 0.5)
        axes.set_ylim(len(found.lines) - 0.5, -0.5)
        names = [plain(column, longest=LONGEST) for column in found.columns]
        axes.xaxis.tick_top()
        axes.set_xticks(range(len(found.columns)), names, **(SLANTED if max(map(len, names)) > UPRIGHT else {}))
        axes.set_yticks(range(len(found.lines)), [plain(line.name, longest=LONGEST) for line in found.lines])
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
