"""The figures of a run, or of several laid over each other."""

from collections.abc import Callable, Sequence
from itertools import accumulate

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fedloom.federation.written import MEAN, Change, ClientScore
from fedloom.report import words
from fedloom.report.lines import Line
from fedloom.report.runs import Run, interval
from fedloom.report.svg import INK, MARKERS, SERIES, canvas, percent, plain

MANY = 32
"""More clients than this are drawn as a distribution, not one by one."""

LETTERS, MARK = 56, 5
"""How many letters a row of a legend holds, and how many a mark takes."""

ENTRY = 0.19
"""Height of a legend's row, inches."""

Points = list[tuple[float, float]]


def scores(runs: Sequence[Run], lines: Sequence[Line] = ()) -> Figure:
    """Score after each round; round 0 is zero-shot. ``lines``: what the scores are held against."""
    figure, axes = canvas()
    _lines(axes, runs, lambda run: _scores(run, [one.round for one in run.rounds]))
    percent(axes.yaxis)
    _rounds(axes, runs[0].result.metric)
    _level(axes, lines)
    _legend(figure, axes, several=len(runs) > 1)
    return figure


def losses(runs: Sequence[Run]) -> Figure:
    """Mean training loss of each round's clients."""
    figure, axes = canvas()
    _lines(axes, runs, lambda run: [(one.round, one.loss) for one in run.rounds if one.loss is not None])
    _rounds(axes, "training loss")
    _legend(figure, axes, several=len(runs) > 1)
    return figure


def score_against_bytes(runs: Sequence[Run], lines: Sequence[Line] = ()) -> Figure:
    """Score against everything sent so far, in megabytes."""
    figure, axes = canvas()
    _lines(
        axes,
        runs,
        lambda run: _scores(run, [b / 1e6 for b in accumulate(one.bytes_up + one.bytes_down for one in run.rounds)]),
    )
    percent(axes.yaxis)
    axes.set_xlabel("sent so far, MB")
    axes.set_ylabel(runs[0].result.metric)
    _level(axes, lines)
    _legend(figure, axes, several=len(runs) > 1)
    return figure


def bytes_a_round(run: Run) -> Figure:
    """Megabytes up and down in each round."""
    figure, axes = canvas()
    up, down = [one.bytes_up / 1e6 for one in run.rounds], [one.bytes_down / 1e6 for one in run.rounds]
    rounds = [one.round for one in run.rounds]
    axes.bar([r - 0.2 for r in rounds], up, width=0.36, color=SERIES[0], label="up, to the server")
    axes.bar([r + 0.2 for r in rounds], down, width=0.36, color=SERIES[4], label="down, to the clients")
    _rounds(axes, "MB")
    _legend(figure, axes)
    return figure


def bytes_by_part(run: Run) -> Figure:
    """Megabytes up and down over the whole run, as two bars stacked by what the bytes are; the smallest parts are one
    where there are more parts than colours."""
    figure, axes = canvas(height=1.9, grid="x")
    parts = [(words.part(name), up / 1e6, down / 1e6) for name, (up, down) in run.parts.items()]
    if len(parts) > len(SERIES):
        rest = parts[len(SERIES) - 1 :]
        parts = [*parts[: len(SERIES) - 1], ("all else", sum(up for _, up, _ in rest), sum(down for *_, down in rest))]
    ends = [0.0, 0.0]
    for colour, (name, *sent) in zip(SERIES, parts, strict=False):
        axes.barh([0, 1], sent, left=ends, height=0.55, color=colour, label=plain(name))
        ends = [end + more for end, more in zip(ends, sent, strict=True)]
    axes.set_yticks([0, 1], ["up", "down"])
    axes.set_ylim(1.5, -0.5)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("MB")
    _legend(figure, axes)
    return figure


def clients(run: Run) -> Figure:
    """Each client's score on its own test examples, before and after, with Wilson's interval where their number is
    known."""
    scored = sorted((one for one in run.result.per_client if one.final is not None), key=lambda one: one.final or 0)
    if len(scored) > MANY:
        return _distribution(scored, run)
    tested = [run.tested.get(one.client) for one in scored]
    names = [_label(words.client(one.client), number) for one, number in zip(scored, tested, strict=True)]
    changes = [
        Change(before=one.zero_shot, after=one.final, tested=number) for one, number in zip(scored, tested, strict=True)
    ]
    sure = run.result.figure == MEAN
    return _changes(
        names, changes, f"{run.result.metric} on the client's own test examples", run.result.zero_shot, sure
    )


def classes(run: Run, ranked: Sequence[tuple[str, Change]]) -> Figure:
    """The score of each class before and after, of the worst where there are many; ``ranked``: the worst first."""
    shown = ranked[:MANY]
    names = [_label(name, one.tested) for name, one in shown]
    return _changes(names, [one for _, one in shown], "mean score of the class", None, False)


def _changes(
    names: Sequence[str], changes: Sequence[Change], label: str, start: float | None, intervals: bool
) -> Figure:
    """Scores before and after, a row each, the first at the bottom. ``start``: where no row has a score before."""
    figure, axes = canvas(height=0.9 + 0.26 * max(len(changes), 4), grid="x")
    finals = [one.after or 0.0 for one in changes]
    starts = [(row, one.before) for row, one in enumerate(changes) if one.before is not None]
    if intervals:
        _intervals(axes, changes)
    for row, before in starts:
        axes.plot([before, finals[row]], [row, row], color=SERIES[0], alpha=0.3, linewidth=4, solid_capstyle="round")
    if starts:
        rows, scores = zip(*starts, strict=True)
        axes.scatter(scores, rows, s=34, marker="D", color=SERIES[1], label="before", zorder=3)
    elif start is not None:
        axes.axvline(start, color=SERIES[1], linestyle="--", linewidth=1.4, label="before, all clients")
    axes.scatter(finals, range(len(changes)), s=46, color=SERIES[0], label="after", zorder=3)
    axes.set_yticks(range(len(changes)), names)
    axes.spines["left"].set_visible(False)
    percent(axes.xaxis)
    axes.set_xlabel(label)
    axes.set_ylim(-0.6, len(changes) - 0.4)
    _legend(figure, axes)
    return figure


def _label(name: str, tested: int | None) -> str:
    """A name, and on how many examples it is measured."""
    return plain(name, longest=20) + ("" if tested is None else f" \u00b7 {tested}")


def _intervals(axes: Axes, changes: Sequence[Change]) -> None:
    found = {row: ends for row, one in enumerate(changes) if (ends := interval(one.after, one.tested))}
    for row, ends in found.items():
        label = "95% interval" if row == min(found) else None
        axes.plot(ends, [row, row], color=INK, alpha=0.55, linewidth=1, marker="|", markersize=6, label=label)


def _distribution(scored: Sequence[ClientScore], run: Run) -> Figure:
    figure, axes = canvas()
    axes.hist([one.final or 0.0 for one in scored], bins=20, color=SERIES[0])
    if run.result.zero_shot is not None:
        axes.axvline(run.result.zero_shot, color=INK, linestyle="--", linewidth=1, label="before, all clients")
    percent(axes.xaxis)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel(f"final {run.result.metric}")
    axes.set_ylabel("clients")
    _legend(figure, axes)
    return figure


def _scores(run: Run, at: Sequence[float]) -> Points:
    """``(at, score)`` of zero-shot (at 0) and of each round that was evaluated."""
    start = [] if run.result.zero_shot is None else [(0.0, run.result.zero_shot)]
    later = [(x, one.score) for x, one in zip(at, run.rounds, strict=True) if one.score is not None]
    return [*start, *later]


def _lines(axes: Axes, runs: Sequence[Run], points: Callable[[Run], Points]) -> None:
    for index, run in enumerate(runs):
        found = points(run)
        axes.plot(
            [x for x, _ in found],
            [y for _, y in found],
            color=SERIES[index % len(SERIES)],
            marker=MARKERS[index % len(MARKERS)],
            markersize=4.5,
            linewidth=2,
            label=plain(run.title or run.name, longest=34),
            clip_on=False,
        )


def _level(axes: Axes, lines: Sequence[Line]) -> None:
    for line in lines:
        label = plain(f"{line.name} {words.score(line.score)}", longest=46)
        axes.axhline(line.score, color=line.colour, linestyle=line.dashes, linewidth=1.4, zorder=1, label=label)


def _rounds(axes: Axes, label: str) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("round")
    axes.set_ylabel(label)


def _legend(figure: Figure, axes: Axes, several: bool = True) -> None:
    """What the marks are, above the axes, which stay as high as they were; nothing where there is one alone."""
    handles, labels = axes.get_legend_handles_labels()
    if not (several or len(labels) > 1):
        return
    columns = max(1, min(len(labels), LETTERS // (max(map(len, labels)) + MARK)))
    figure.set_figheight(figure.get_figheight() + ENTRY * -(-len(labels) // columns))
    axes.legend(
        handles,
        labels,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=columns,
        frameon=False,
        fontsize=9,
        labelcolor=INK,
        borderaxespad=0.2,
    )
