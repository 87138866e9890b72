"""The figures of a comparison: one panel a value of the shorter axis, one point a combination of the others."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from fedloom.report.labels import Line, Point, place
from fedloom.report.svg import INK, SERIES, STYLE, percent, plain
from fedloom.report.table import Row

ACROSS = 3
"""Panels side by side."""

BOUNDS = {"local": (SERIES[4], (0, (1.5, 1.5))), "centralised": (SERIES[2], (0, (7, 2)))}
"""Methods that the others stand between: colour and dashes of their lines."""

BEFORE = "zero-shot"
BEFORE_LOOK = (SERIES[1], (0, (4, 2, 1, 2)))

SAME = 0.005
"""Zero-shot scores this close are one line; others are a diamond for each row."""

ALIKE = 1.01
"""Bytes in this ratio or a smaller one are as few: headers differ in length."""


@dataclass(frozen=True)
class Panel:
    """The rows of one panel by their names; ``lines``: scores that all others are held against."""

    title: str
    rows: dict[str, Row]

    @property
    def lines(self) -> dict[str, float]:
        """Zero-shot where it is one score, and each bound that is one row."""
        starts = [mean for row in self.rows.values() if (mean := row.stats["zero_shot"].mean) is not None]
        found = {BEFORE: fmean(starts)} if starts and max(starts) - min(starts) < SAME else {}
        for bound in BOUNDS:
            scores = [_final(row) for row in self.rows.values() if _method(row) == bound]
            if len(scores) == 1:
                found[bound] = scores[0]
        return found


def panels(found: Sequence[Row]) -> list[Panel]:
    """The rows that have a final score, by the values of the shortest axis that varies, where two or more vary."""
    known = [row for row in found if row.stats["final"].n]
    counts = {axis: len({row.axes[axis] for row in known}) for axis in (known[0].axes if known else ())}
    varying = [axis for axis, count in counts.items() if count > 1]
    if len(varying) < 2:
        return [Panel("", {_name(row, varying or list(row.axes)): row for row in known})]
    across = min(varying, key=lambda axis: (counts[axis], axis == "method"))
    others = [axis for axis in varying if axis != across]
    return [
        Panel(value, {_name(row, others): row for row in known if row.axes[across] == value})
        for value in dict.fromkeys(row.axes[across] for row in known)
    ]


def cells(found: Sequence[Row], metric: str = "accuracy") -> Figure:
    """Final score of each combination with its sample standard deviation over seeds, the best mean over the panels
    first; dashed lines: zero-shot and the bounds."""
    shown = panels(found)
    scores: dict[str, list[float]] = {}
    for name, row in ((name, row) for panel in shown for name, row in panel.rows.items()):
        scores.setdefault(name, []).append(_final(row))
    order = sorted(scores, key=lambda name: -fmean(scores[name]))
    with rc_context(STYLE):
        width = 4.4 if len(shown) == 1 else 1.6 + 2.3 * min(len(shown), ACROSS)
        figure, drawn = _figure(shown, width, 0.7 + 0.25 * max(len(order), 3), ACROSS, "x")
        for axes, panel in zip(drawn, shown, strict=True):
            for name, score in panel.lines.items():
                axes.axvline(score, color=_look(name)[0], linestyle=_look(name)[1], linewidth=1.3, zorder=1)
            for place_, name in enumerate(order):
                if name in panel.rows:
                    _dot(axes, panel, name, place_)
            axes.set_yticks(range(len(order)), [plain(name, longest=34) for name in order])
            axes.set_ylim(len(order) - 0.4, -0.6)
            axes.spines["left"].set_visible(False)
            percent(axes.xaxis)
        figure.supxlabel(f"{metric}{_told(found)}", fontsize=10)
        _legend(figure, shown, [])
    return figure


def against_bytes(found: Sequence[Row], metric: str = "accuracy") -> Figure:
    """Final score of each combination, with its sample standard deviation over seeds, against the bytes that its run
    sent up and down (logarithmic), and the frontier: those that no other beats with as few bytes."""
    shown = panels(found)
    with rc_context(STYLE):
        figure, drawn = _figure(shown, 4.4 if _few(shown) else 7.2, 3.2 if _few(shown) else 4.6, 1, "both")
        points: list[list[Point]] = []
        for axes, panel in zip(drawn, shown, strict=True):
            for name, score in panel.lines.items():
                axes.axhline(score, color=_look(name)[0], linestyle=_look(name)[1], linewidth=1.3, zorder=1)
            points.append(_scatter(axes, panel))
            axes.set_ylabel(metric)
            percent(axes.yaxis)
        _logarithmic(drawn, points)
        figure.supxlabel(f"sent, MB{_told(found)}", fontsize=10)
        _legend(figure, shown, [Line2D([], [], color=SERIES[0], linewidth=1.6, marker="o", label="frontier")])
        figure.draw_without_rendering()
        for axes, panel, known in zip(drawn, shown, points, strict=True):
            place(axes, known, _lines(axes, panel, known))
    return figure


def frontier(points: Sequence[Point]) -> list[Point]:
    """The points that no other beats with as few bytes, nor equals with fewer, cheapest first."""
    kept = [
        one
        for one in points
        if not any((p.x <= ALIKE * one.x and p.y > one.y) or (p.x < one.x and p.y == one.y) for p in points)
    ]
    return sorted(kept, key=lambda one: one.x)


def _figure(shown: Sequence[Panel], width: float, height: float, across: int, grid: str) -> tuple[Figure, list[Axes]]:
    """A figure of ``width`` inches with a panel for each of ``shown``, each ``height`` inches high."""
    columns = min(len(shown), across)
    lines = -(-len(shown) // columns)
    figure = Figure(figsize=(width, 0.5 + height * lines), layout="constrained")
    every = figure.subplots(lines, columns, sharex=True, sharey=across > 1, squeeze=False).ravel()
    for axes, panel in zip(every, shown, strict=False):
        axes.set_title(plain(panel.title, longest=40), fontsize=10, fontweight="bold")
        axes.grid(axis=grid)
    for axes in every[len(shown) :]:
        axes.remove()
    return figure, list(every[: len(shown)])


def _dot(axes: Axes, panel: Panel, name: str, at: float) -> None:
    row = panel.rows[name]
    colour = _look(_method(row))[0] if _method(row) in panel.lines else SERIES[0]
    _bar(axes, _final(row), at, xerr=row.stats["final"].spread or 0.0, color=colour)
    start = row.stats["zero_shot"].mean
    if start is not None and BEFORE not in panel.lines:
        axes.scatter([start], [at], marker="D", s=24, color=BEFORE_LOOK[0])


def _scatter(axes: Axes, panel: Panel) -> list[Point]:
    """Draw and return the points of a panel, in MB; a row that sent nothing has none."""
    points = [
        Point(name, sent / 1e6, _final(row), row.stats["final"].spread or 0.0)
        for name, row in panel.rows.items()
        if (sent := _sent(row)) and _method(row) not in panel.lines
    ]
    best = frontier(points)
    for point in points:
        bar = _bar(axes, point.x, point.y, yerr=point.spread, color=SERIES[0] if point in best else INK)
        for part in (bar[0], *bar[1], *bar[2]):
            part.set(**{"zorder": 4} if point in best else {"alpha": 0.4})
    axes.plot(
        [point.x for point in best], [point.y for point in best], drawstyle="steps-post", color=SERIES[0], zorder=1
    )
    return points


def _lines(axes: Axes, panel: Panel, points: Sequence[Point]) -> list[Line]:
    """The lines across a panel, and the steps of its frontier."""
    left, right = axes.get_xlim()
    found = [((left, score), (right, score)) for score in panel.lines.values()]
    for one, other in pairwise(frontier(points)):
        found += [((one.x, one.y), (other.x, one.y)), ((other.x, one.y), (other.x, other.y))]
    return found


def _bar(
    axes: Axes, x: float, y: float, color: str, xerr: float | None = None, yerr: float | None = None
) -> ErrorbarContainer:
    return axes.errorbar(
        [x], [y], xerr=xerr, yerr=yerr, fmt="o", color=color, markersize=5.5, capsize=2.5, linewidth=1.3, zorder=3
    )


def _logarithmic(drawn: Sequence[Axes], points: Sequence[Sequence[Point]]) -> None:
    """A logarithmic axis of plain numbers with room for the labels at both sides."""
    every = [point.x for known in points for point in known] or [1.0]
    room = max(max(every) / min(every), 2.0) ** 0.35
    for axes in drawn:
        axes.set_xscale("log")
        axes.set_xlim(min(every) / room, max(every) * room)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_locator(NullLocator())


def _legend(figure: Figure, shown: Sequence[Panel], more: Sequence[Line2D]) -> None:
    """What the lines are; the figure says nothing of those that are in no panel."""
    held = [name for name in (BEFORE, *BOUNDS) if any(name in panel.lines for panel in shown)]
    keys = [Line2D([], [], color=_look(name)[0], linestyle=_look(name)[1], label=name) for name in held]
    if BEFORE not in held and any(row.stats["zero_shot"].n for panel in shown for row in panel.rows.values()):
        keys.append(Line2D([], [], color=BEFORE_LOOK[0], marker="D", linestyle="", markersize=5, label=BEFORE))
    figure.legend(
        handles=[*keys, *more],
        loc="outside upper left",
        ncols=2 if figure.get_figwidth() < 5 else 4,
        handlelength=3,
        labelcolor=INK,
    )


def _told(found: Sequence[Row]) -> str:
    """What the bars are, where a row has one."""
    seeds = sorted({row.stats["final"].n for row in found if row.stats["final"].n > 1})
    if not seeds:
        return ""
    counted = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    return f" (bar: standard deviation over {counted} seeds)"


def _look(name: str) -> tuple[str, tuple[int, tuple[float, ...]]]:
    return BEFORE_LOOK if name == BEFORE else BOUNDS[name]


def _few(shown: Sequence[Panel]) -> bool:
    return len(shown) == 1 and len(shown[0].rows) <= 8


def _final(row: Row) -> float:
    return row.stats["final"].mean or 0.0


def _sent(row: Row) -> float:
    """Everything that travelled, also to a language model that is elsewhere."""
    return sum(row.stats[column].mean or 0.0 for column in ("bytes_up", "bytes_down", "split"))


def _method(row: Row) -> str:
    """The method without the options that its label may name."""
    return row.axes.get("method", "").split(" ")[0]


def _name(row: Row, axes: Sequence[str]) -> str:
    return " · ".join(row.axes[axis] for axis in axes)
