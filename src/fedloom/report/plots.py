"""The figures of a run, or of several laid over each other."""

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fedloom.federation.written import MEAN, ClientScore
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
    figure, axes = canvas(height=0.9 + 0.26 * max(len(scored), 4), grid="x")
    finals = [one.final or 0.0 for one in scored]
    starts = [(row, one.zero_shot) for row, one in enumerate(scored) if one.zero_shot is not None]
    if run.result.figure == MEAN:
        _intervals(axes, scored, run.tested)
    for row, start in starts:
        axes.plot([start, finals[row]], [row, row], color=SERIES[0], alpha=0.3, linewidth=4, solid_capstyle="round")
    if starts:
        rows, scores = zip(*starts, strict=True)
        axes.scatter(scores, rows, s=34, marker="D", color=SERIES[1], label="before", zorder=3)
    elif run.result.zero_shot is not None:
        axes.axvline(run.result.zero_shot, color=SERIES[1], linestyle="--", linewidth=1.4, label="before, all clients")
    axes.scatter(finals, range(len(scored)), s=46, color=SERIES[0], label="after", zorder=3)
    axes.set_yticks(range(len(scored)), [_label(one, run.tested.get(one.client)) for one in scored])
    axes.spines["left"].set_visible(False)
    percent(axes.xaxis)
    axes.set_xlabel(f"{run.result.metric} on the client's own test examples")
    axes.set_ylim(-0.6, len(scored) - 0.4)
    _legend(figure, axes)
    return figure


def _label(one: ClientScore, tested: int | None) -> str:
    """A client's name, and on how many examples it is measured."""
    return plain(words.client(one.client), longest=20) + ("" if tested is None else f" \u00b7 {tested}")


def _intervals(axes: Axes, scored: Sequence[ClientScore], tested: Mapping[str, int]) -> None:
    found = {row: ends for row, one in enumerate(scored) if (ends := interval(one.final, tested.get(one.client)))}
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
