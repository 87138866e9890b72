"""A comparison by a field of its test examples, such as the skill that a question needs: tables, pictures, and a sheet
of the examples that fewest runs answer rightly.

An example counts for each of the values that its field names: ``counting+geometry`` for both.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
from matplotlib.figure import Figure

from fedloom.core import config
from fedloom.core.contracts import Sample, Task
from fedloom.core.errors import FedloomError
from fedloom.core.files import write_atomic
from fedloom.federation import baselines
from fedloom.federation.record import RunFolder
from fedloom.report import outcome, svg
from fedloom.report.csv_cells import safe
from fedloom.report.heat import shaded
from fedloom.report.outcome import Outcome, Ran
from fedloom.report.pivot import ZERO_SHOT
from fedloom.report.runs import Run
from fedloom.report.sheet import sheet

ALL = "all"
"""What the column of a comparison without columns is called."""
MAJORITY = "most frequent answer"
ROW: outcome.Combination = (("row", "trained"),)
"""The row of a comparison that has no other axis than its columns."""
HARDEST = 12
"""Examples on a sheet."""

Scores = dict[str, float]
"""Scores by example."""


@dataclass(frozen=True)
class Share:
    """Mean score of ``examples`` test examples, over ``n`` seeds; ``spread``: sample standard deviation over these."""

    mean: float
    spread: float | None
    n: int
    examples: int


@dataclass(frozen=True)
class Line:
    """A row of the comparison in one of its columns, by the values of the field."""

    axes: dict[str, str]
    column: str
    shares: dict[str, Share]
    bound: bool = False

    @property
    def name(self) -> str:
        """The row in words."""
        return " \N{MIDDLE DOT} ".join(value for value in self.axes.values() if value)


@dataclass(frozen=True)
class ByField:
    """All lines; ``samples``, ``tasks``: of each column, by example. ``share``: of the trained runs of a column, how
    many answer an example rightly."""

    field: str
    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    samples: dict[str, dict[str, Sample]]
    tasks: dict[str, Task]
    share: dict[str, Scores]

    @property
    def values(self) -> list[str]:
        """The field's values, as they first occur."""
        return list(dict.fromkeys(value for line in self.lines for value in line.shares))


def of(found: Outcome, out: Path, known: Sequence[tuple[Ran, Run]]) -> ByField | None:
    """The finished runs of a comparison by its field; ``None`` where it names none.

    Raises:
        FedloomError: the task has no such field, or its examples are no longer those of the runs.
    """
    if not found.by:
        return None
    tasks: dict[str, Task] = {}
    samples: dict[str, dict[str, Sample]] = {}
    read = set[str]()
    trained: dict[tuple[str, outcome.Combination], list[Scores]] = {}
    before: dict[tuple[str, outcome.Combination], list[Scores]] = {}
    majority: dict[str, dict[int, Scores]] = {}
    for cell, _ in known:
        column = cell.axes.get(found.columns, ALL)
        experiment = config.load(str(out / cell.folder / "config.toml"), [])
        asked = f"{column} {experiment.task} {experiment.data}"
        if asked not in read:
            read.add(asked)
            tasks[column] = config.build(experiment, "task")
            data = tasks[column].load()
            samples.setdefault(column, {}).update((sample.id, sample) for sample in (*data.train, *data.test))
        others = tuple((axis, value) for axis, value in cell.axes.items() if axis != found.columns) or ROW
        after, first = (_scores(out / cell.folder, file) for file in ("after.json", "before.json"))
        _check(cell, found.by, after, samples[column])
        trained.setdefault((column, others), []).append(after)
        before.setdefault((column, others), []).append(first)
        if guesses := _scores(out / cell.folder, baselines.FILE):
            majority.setdefault(column, {})[cell.seed] = guesses
    lines = [_line(key, scores, found.by, samples) for key, scores in trained.items()]
    starts = _alike([_line(key, scores, found.by, samples) for key, scores in before.items() if all(scores)])
    axes = dict.fromkeys(lines[0].axes, "") if lines else {}
    first_axis = next(iter(axes), "")
    bounds = [
        _line(
            (column, tuple((axes | {first_axis: MAJORITY}).items())),
            list(scores.values()),
            found.by,
            samples,
            bound=True,
        )
        for column, scores in majority.items()
    ]
    share = {
        column: {
            id: fmean(one[id] for one in every if id in one) for id in dict.fromkeys(i for one in every for i in one)
        }
        for column in tasks
        if (every := [one for (own, _), scores in trained.items() if own == column for one in scores])
    }
    return ByField(found.by, tuple(tasks), (*bounds, *starts, *lines), samples, tasks, share)


def _scores(folder: Path, file: str) -> Scores:
    """The score of each test example that a run tells."""
    told = RunFolder(folder).read_json(file) or {}
    ids, scores = told.get("ids", []), told.get("scores", [])
    return dict(zip(ids, scores, strict=False))


def _check(cell: Ran, field: str, scores: Scores, samples: Mapping[str, Sample]) -> None:
    """Refuse scores that are of other examples than the task has now, or of ones without the field.

    Raises:
        FedloomError: naming the cell.
    """
    if not scores:
        raise FedloomError(
            f"compare.by = {field!r}: {cell.name} tells no scores by example: its clients answered. Leave by out."
        )
    strange = [id for id in scores if id not in samples]
    if strange:
        raise FedloomError(
            f"compare.by = {field!r}: {cell.name} has an example {strange[0]!r} that its task lacks now."
        )
    sample = samples[next(iter(scores))]
    if field not in sample.meta:
        raise FedloomError(
            f"compare.by = {field!r}: the examples have {', '.join(sorted(sample.meta))}. Name one of these."
        )


def _line(
    key: tuple[str, outcome.Combination],
    scores: Sequence[Scores],
    field: str,
    samples: Mapping[str, Mapping[str, Sample]],
    bound: bool = False,
) -> Line:
    """The mean score of each value of the field, over seeds."""
    column, axes = key
    members: dict[str, list[str]] = {}
    for id in dict.fromkeys(id for one in scores for id in one):
        for value in samples[column][id].meta.get(field, "").split("+"):
            members.setdefault(value, []).append(id)
    shares = {}
    for value in sorted(members):
        each = [[one[id] for id in members[value] if id in one] for one in scores]  # each seed may ask others
        means = [fmean(own) for own in each if own]
        spread = stdev(means) if len(means) > 1 else None
        shares[value] = Share(fmean(means), spread, len(means), len(members[value]))
    return Line(dict(axes), column, shares, bound)


def _alike(lines: Iterable[Line]) -> list[Line]:
    """Zero-shot lines, of several that are the same one, called after what these have in common. A row that stands for
    itself leaves out what others have not in common, where no other line is then called the same."""
    groups: dict[tuple[str, tuple[float, ...]], list[Line]] = {}
    for line in lines:
        key = line.column, tuple(round(share.mean, 9) for share in line.shares.values())
        groups.setdefault(key, []).append(line)
    same = [_common(group) for group in groups.values()]
    free = {axis for axes in same for axis, value in axes.items() if not value}
    short = [{axis: "" if axis in free else value for axis, value in axes.items()} for axes in same]
    columns = [group[0].column for group in groups.values()]
    called = list(zip(columns, short, strict=True))
    made = []
    for group, whole, brief, own in zip(groups.values(), same, short, called, strict=True):
        axes = brief if called.count(own) == 1 else whole
        name = next((axis for axis in reversed(axes) if not axes[axis]), next(reversed(axes), ""))
        axes[name] = ZERO_SHOT if axes.get(name, "") in ("", ROW[0][1]) else f"{axes[name]}, {ZERO_SHOT}"
        made.append(Line(axes, group[0].column, group[0].shares, bound=True))
    return made


def _common(group: Sequence[Line]) -> dict[str, str]:
    """The axes' values that all lines have; empty where they differ."""
    first = group[0].axes
    return {axis: value if all(one.axes[axis] == value for one in group) else "" for axis, value in first.items()}


def figures(found: ByField) -> dict[str, Figure]:
    """A picture for each column, rows by the field's values, and one for each value, rows by columns; in points."""
    names = list(dict.fromkeys(line.name for line in found.lines))
    place = {(line.name, line.column): line.shares for line in found.lines}
    every = [100 * share.mean for line in found.lines for share in line.shares.values()]
    limits = min(every), max(every)

    def table(
        rows: Sequence[str], columns: Sequence[tuple[str, str]]
    ) -> "np.ndarray[tuple[int, int], np.dtype[np.float64]]":
        """Of (column, value of the field) side by side."""
        shares = [[place.get((row, column), {}).get(value) for column, value in columns] for row in rows]
        return np.array([[np.nan if one is None else 100 * one.mean for one in row] for row in shares])

    made = {}
    for column in found.columns:
        rows = [name for name in names if (name, column) in place]
        made[column] = shaded(table(rows, [(column, v) for v in found.values]), rows, found.values, limits=limits)
    for value in found.values:
        made[value] = shaded(table(names, [(c, value) for c in found.columns]), names, found.columns, limits=limits)
    return made


def comma_separated(found: ByField) -> str:
    """Every share, with full precision."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    axes = list(found.lines[0].axes)
    writer.writerow(safe([*axes, "column", found.field, "score", "spread", "n", "examples"]))
    for line in found.lines:
        for value, share in line.shares.items():
            own = [line.axes[axis] for axis in axes]
            writer.writerow(safe([*own, line.column, value, share.mean, share.spread, share.n, share.examples]))
    return buffer.getvalue()


def write(found: ByField, out: Path) -> None:
    """Write ``by-FIELD/``: the table, the pictures, and of each column the examples that fewest runs answer rightly."""
    folder = out / f"by-{found.field}"
    folder.mkdir(exist_ok=True)
    write_atomic(folder / "scores.csv", comma_separated(found).encode())
    for name, figure in figures(found).items():
        svg.save(figure, folder / f"{_safe(name)}.png")
    for column, share in found.share.items():
        worst = sorted(share, key=lambda id: (share[id], id))[:HARDEST]
        notes = [f"{100 * share[id]:.0f}% of the runs" for id in worst]
        shown = [found.samples[column][id] for id in worst]
        sheet(shown, found.tasks[column].word, folder / f"hardest-{_safe(column)}.png", notes)


def _safe(name: str) -> str:
    """A name as a file's."""
    return "".join(letter if letter.isalnum() or letter in "-_ ." else "-" for letter in name) or "none"
