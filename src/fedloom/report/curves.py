"""Learning curves of a comparison: one small panel a row, its mean over the seeds with a band, the baseline behind."""

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, PercentFormatter

from fedloom.report.runs import Run
from fedloom.report.svg import INK, SERIES, STYLE, plain

ACROSS = 4
"""Panels side by side."""

Curve = list[tuple[int, float, float]]
"""Round, mean over the seeds, sample standard deviation (0: one seed)."""


def curve(runs: Sequence[Run]) -> Curve:
    """The score after each round that every seed evaluated; round 0 is zero-shot."""
    known = [_scores(run) for run in runs]
    rounds = sorted(set.intersection(*(set(scores) for scores in known))) if known else []
    values = {number: [scores[number] for scores in known] for number in rounds}
    return [(n, fmean(found), stdev(found) if len(found) > 1 else 0.0) for n, found in values.items()]


def curves(rows: Mapping[str, Sequence[Run]], behind: Mapping[str, str], metric: str) -> Figure | None:
    """A panel for each row: its seeds' mean and standard deviation after each round, and its baseline's mean in grey.

    ``behind``: the baseline's name by the row's. ``None``: no row was evaluated on the way.
    """
    found = {name: curve(runs) for name, runs in rows.items()}
    if not any(len(points) > 2 for points in found.values()):
        return None
    columns = min(len(found), ACROSS)
    lines = -(-len(found) // columns)
    with rc_context(STYLE):
        figure = Figure(figsize=(max(4.4, 2.1 * columns), 0.7 + 1.75 * lines), layout="constrained")
        every = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
        for axes in every[len(found) :]:
            axes.remove()
        for axes, (name, points) in zip(every, found.items(), strict=False):
            axes.set_title(plain(name, longest=28), fontsize=9)
            axes.grid(axis="y")
            base = found.get(behind.get(name, ""), [])
            axes.plot([n for n, *_ in base], [mean for _, mean, _ in base], color=INK, alpha=0.45, linewidth=1.3)
            _band(axes, points)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        figure.supxlabel("round", fontsize=10)
        figure.supylabel(metric, fontsize=10)
        keys = [
            Line2D([], [], color=SERIES[0], marker="o", markersize=3.5, label="mean over the seeds"),
            Patch(color=SERIES[0], alpha=0.2, label="one standard deviation"),
            Line2D([], [], color=INK, alpha=0.45, label="baseline"),
        ]
        figure.legend(handles=keys, loc="outside upper left", ncols=2 if columns < 3 else 3, labelcolor=INK)
    return figure


def _band(axes: Axes, points: Curve) -> None:
    rounds, means = [n for n, *_ in points], [mean for _, mean, _ in points]
    low, high = [mean - spread for _, mean, spread in points], [mean + spread for _, mean, spread in points]
    axes.fill_between(rounds, low, high, color=SERIES[0], alpha=0.2, linewidth=0)
    axes.plot(rounds, means, color=SERIES[0], marker="o", markersize=3.5, linewidth=1.6)


def _scores(run: Run) -> dict[int, float]:
    start = {} if run.result.zero_shot is None else {0: run.result.zero_shot}
    return start | {one.round: one.score for one in run.rounds if one.score is not None}
