"""The figure of a comparison's paired differences: a dot and its interval for each row, against the baseline's zero."""

from collections.abc import Sequence

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fedloom.report.compared import ACROSS, panels
from fedloom.report.paired import Held
from fedloom.report.svg import INK, SERIES, STYLE, plain
from fedloom.report.table import Row

LOOKS = {
    "**": ("beyond it, all comparisons counted (**)", SERIES[0], SERIES[0]),
    "*": ("beyond its own interval (*)", SERIES[4], SERIES[4]),
    "": ("within the noise", INK, "none"),
}
"""By the mark of a difference: what it is called, and the colours of the dot's edge and filling."""


def differences(rows: Sequence[Row]) -> Figure | None:
    """Each row's difference from the baseline in points with its 95% interval; one panel a value of the shorter axis.
    ``None``: there is no difference to draw."""
    shown = [panel for panel in panels(rows) if any(row.held for row in panel.rows.values())]
    names = list(dict.fromkeys(name for panel in shown for name, row in panel.rows.items() if row.held))
    if not names:
        return None
    columns = min(len(shown), ACROSS)
    lines = -(-len(shown) // columns)
    with rc_context(STYLE):
        width = 4.4 if len(shown) == 1 else 1.6 + 2.3 * columns
        figure = Figure(figsize=(width, 0.8 + (0.6 + 0.25 * max(len(names), 3)) * lines), layout="constrained")
        every = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
        for axes in every[len(shown) :]:
            axes.remove()
        for axes, panel in zip(every, shown, strict=False):
            axes.set_title(plain(panel.title, longest=40), fontsize=10, fontweight="bold")
            axes.grid(axis="x")
            axes.axvline(0, color=INK, linewidth=1.1)
            for place, name in enumerate(names):
                row = panel.rows.get(name)
                if row and row.held:
                    _dot(axes, row.held, place)
            axes.set_yticks(range(len(names)), [plain(name, longest=34) for name in names])
            axes.set_ylim(len(names) - 0.4, -0.6)
            axes.spines["left"].set_visible(False)
        figure.supxlabel("difference from the baseline, points (bar: 95% interval)", fontsize=10)
        held = [row.held for panel in shown for row in panel.rows.values() if row.held]
        _legend(figure, {one.mark for one in held})
    return figure


def _dot(axes: Axes, held: Held, place: int) -> None:
    found = held.difference
    _, edge, fill = LOOKS[held.mark]
    mean = 100 * found.mean
    reach = None
    if found.low is not None and found.high is not None:
        reach = [[mean - 100 * found.low], [100 * found.high - mean]]
    axes.errorbar(
        [mean], [place], xerr=reach, fmt="o", color=edge, markerfacecolor=fill, markersize=5.5, capsize=2.5, zorder=3
    )


def _legend(figure: Figure, marks: set[str]) -> None:
    keys = [
        Line2D([], [], color=edge, markerfacecolor=fill, marker="o", linestyle="", markersize=5.5, label=label)
        for mark, (label, edge, fill) in LOOKS.items()
        if mark in marks
    ]
    figure.legend(handles=keys, loc="outside upper left", ncols=1 if figure.get_figwidth() < 5 else 3, labelcolor=INK)
