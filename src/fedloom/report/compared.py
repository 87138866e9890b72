"""The figures of a comparison."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from fedloom.report.svg import INK, MARKERS, SERIES, canvas, plain
from fedloom.report.table import Row


def cells(found: Sequence[Row], metric: str = "accuracy") -> Figure:
    """Final score of each combination, with its sample standard deviation over seeds; a diamond marks the
    score before (zero-shot)."""
    known = [row for row in found if row.stats["final"].n]
    figure, axes = canvas(height=0.9 + 0.34 * max(len(known), 3), grid="x")
    places = range(len(known))
    axes.errorbar(
        [row.stats["final"].mean or 0.0 for row in known],
        places,
        xerr=[row.stats["final"].spread or 0.0 for row in known],
        fmt="o",
        color=SERIES[0],
        markersize=7,
        capsize=4,
        linewidth=1.6,
        label="final",
    )
    starts = [
        (row.stats["zero_shot"].mean or 0.0, place) for place, row in enumerate(known) if row.stats["zero_shot"].n
    ]
    axes.scatter(
        [score for score, _ in starts],
        [place for _, place in starts],
        marker="D",
        s=30,
        color=SERIES[1],
        label="before",
    )
    axes.set_yticks(list(places), [_name(row) for row in known])
    axes.set_ylim(len(known) - 0.5, -0.5)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_xlabel(metric)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, fontsize=9, labelcolor=INK)
    return figure


def against_bytes(found: Sequence[Row], metric: str = "accuracy") -> Figure:
    """Final score of each combination against the bytes that its run sent (logarithmic)."""
    figure, axes = canvas(height=3.2, grid="both")
    for index, row in enumerate(found):
        final, sent = row.stats["final"], row.stats["bytes"]
        if final.mean is None or not sent.mean:
            continue
        axes.errorbar(
            [sent.mean / 1e6],
            [final.mean],
            yerr=[final.spread or 0.0],
            fmt=MARKERS[index % len(MARKERS)],
            color=SERIES[index % len(SERIES)],
            markersize=7,
            capsize=4,
        )
        axes.annotate(_name(row), (sent.mean / 1e6, final.mean), (8, 5), textcoords="offset points", fontsize=9)
    axes.set_xscale("log")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_xlabel("sent, MB")
    axes.set_ylabel(metric)
    return figure


def _name(row: Row) -> str:
    return plain(" · ".join(row.axes.values()), longest=34)
