"""A comparison as a table of two ways: the values of one axis side by side, every combination of the others below.

In each column the best mean is marked, and with it those that are within the noise of it: whose paired difference from
it, over seeds and examples, has a 95% interval that holds zero (``paired``). Zero-shot is a line of its
own, for nothing: every run measures it.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Literal

from fedloom.report import outcome, paired, words
from fedloom.report.csv_cells import safe
from fedloom.report.outcome import Combination, Outcome, Ran
from fedloom.report.runs import Run
from fedloom.report.table import Row, Stat, escaped, stat
from fedloom.sweep.axes import matches

Mark = Literal["best", "near", ""]
ZERO_SHOT = "zero-shot"
SIGNS: dict[Mark, str] = {"best": "\N{BLACK STAR}", "near": "\N{ALMOST EQUAL TO}", "": ""}
"""How a table of plain text shows a mark: the best of its column, and what is within the noise of it."""

Scores = Mapping[Combination, Mapping[int, paired.Scored]]


@dataclass(frozen=True)
class Entry:
    """One place of the table: mean and spread over the seeds (none: left out, or not finished), and its mark."""

    stat: Stat
    mark: Mark = ""


@dataclass(frozen=True)
class Line:
    """One row: the values of the other axes, its places by column, and the mean of its means, where it has them all.

    ``ranked``: it takes part in what is best; ``mark``: that of the mean.
    """

    axes: dict[str, str]
    entries: dict[str, Entry]
    ranked: bool
    mark: Mark = ""

    @property
    def name(self) -> str:
        """The line in words."""
        return " \N{MIDDLE DOT} ".join(value for value in self.axes.values() if value)

    @property
    def mean(self) -> float | None:
        """The mean over the columns, ``None`` where one is missing."""
        means = [entry.stat.mean for entry in self.entries.values()]
        return fmean(mean for mean in means if mean is not None) if None not in means else None


@dataclass(frozen=True)
class Pivot:
    """The table: ``axis`` is what stands in the columns."""

    axis: str
    columns: list[str]
    lines: list[Line]


def pivot(
    rows: Sequence[Row], axis: str, scores: Scores, unranked: Sequence[Mapping[str, Sequence[str]]] = ()
) -> Pivot:
    """The rows of a comparison by the values of ``axis``. ``scores``: of every combination by seed, for what is within
    the noise; ``unranked``: rules for lines that bound the others."""
    columns = list(dict.fromkeys(row.axes[axis] for row in rows))
    found: dict[Combination, dict[str, Row]] = {}
    for row in rows:
        others = tuple((key, value) for key, value in row.axes.items() if key != axis)
        found.setdefault(others, {})[row.axes[axis]] = row
    ranked = {others: not matches(unranked, dict(others)) for others in found}
    marks = {
        column: _marks(
            {
                others: mean
                for others, own in found.items()
                if ranked[others] and (mean := _mean(own, column)) is not None
            },
            {
                others: scores[key]
                for others, own in found.items()
                if column in own and (key := _key(own[column])) in scores
            },
        )
        for column in columns
    }
    lines = [
        Line(
            dict(others),
            {c: Entry(own[c].stats["final"], marks[c].get(others, "")) if c in own else _NONE for c in columns},
            ranked[others],
        )
        for others, own in found.items()
    ]
    return Pivot(axis, columns, [*_zero_shot(rows, axis, columns), *_with_marked_means(lines, found, scores)])


def _with_marked_means(
    lines: Sequence[Line], found: Mapping[Combination, Mapping[str, Row]], scores: Scores
) -> list[Line]:
    """The lines with the marks of their means over the columns, taken as those of a column are."""
    means = {tuple(line.axes.items()): line.mean for line in lines if line.ranked}
    over = {
        others: over_columns([scores[_key(row)] for row in own.values()])
        for others, own in found.items()
        if means.get(others) is not None and all(_key(row) in scores for row in own.values())
    }
    marks = _marks({others: mean for others, mean in means.items() if mean is not None}, over)
    return [replace(line, mark=marks.get(tuple(line.axes.items()), "")) for line in lines]


def over_columns(scores: Sequence[Mapping[int, paired.Scored]]) -> dict[int, paired.Scored]:
    """A row's scores, by seed, as the mean over its columns: of each example where all columns have the same ones."""
    seeds = set.intersection(*(set(one) for one in scores)) if scores else set()
    return {seed: _mean_of([one[seed] for one in scores]) for seed in sorted(seeds)}


def _mean_of(found: Sequence[paired.Scored]) -> paired.Scored:
    names = found[0].examples.keys()
    same = all(one.examples.keys() == names for one in found)
    examples = {name: fmean(one.examples[name] for one in found) for name in names} if same else {}
    return paired.Scored(fmean(one.final for one in found), examples)


def of(found: Outcome, out: Path, known: Sequence[tuple[Ran, Run]], rows: Sequence[Row]) -> Pivot | None:
    """The table of two ways of a comparison that has ``columns``: its finished rows, whose scores lie in ``out``."""
    if not found.columns:
        return None
    return pivot(rows, found.columns, outcome.scored(out, known), found.unranked)


_NONE = Entry(stat([]))


def _key(row: Row) -> Combination:
    return tuple(row.axes.items())


def _mean(own: Mapping[str, Row], column: str) -> float | None:
    return own[column].stats["final"].mean if column in own else None


def _marks(means: Mapping[Combination, float], scores: Scores) -> dict[Combination, Mark]:
    """Of one column's means the best, and those within the noise of it."""
    if len(means) < 2:
        return {}
    best = max(means, key=lambda key: means[key])
    marks: dict[Combination, Mark] = {best: "best"}
    for key, mean in means.items():
        if key == best:
            continue
        difference = paired.difference(scores[best], scores[key]) if best in scores and key in scores else None
        if mean == means[best] or (difference is not None and not difference.beyond_noise):
            marks[key] = "near"
    return marks


def _zero_shot(rows: Sequence[Row], axis: str, columns: Sequence[str]) -> list[Line]:
    """Zero-shot as a line, or a line for each value of those other axes that change it, such as a prompt's wording; of
    values that have the same scores the first alone."""
    known = [row for row in rows if row.stats["zero_shot"].mean is not None]
    others = [key for key in (known[0].axes if known else ()) if key != axis]
    telling = [key for key in others if _changes(known, key)]
    groups: dict[tuple[str, ...], dict[str, Row]] = {}
    for row in known:
        groups.setdefault(tuple(row.axes[key] for key in telling), {}).setdefault(row.axes[axis], row)
    lines: list[Line] = []
    for values, own in groups.items():
        axes = dict.fromkeys(others, "") | dict(zip(telling, values, strict=True))
        first = next((key for key in others if key not in telling), others[0] if others else axis)
        axes[first] = ZERO_SHOT if first not in telling else f"{ZERO_SHOT}, {axes[first]}"
        entries = {c: Entry(own[c].stats["zero_shot"]) if c in own else _NONE for c in columns}
        if not any(_means(line.entries) == _means(entries) for line in lines):
            lines.append(Line(axes, entries, ranked=False))
    return lines


def _means(entries: Mapping[str, Entry]) -> list[float | None]:
    return [None if entry.stat.mean is None else round(entry.stat.mean, 9) for entry in entries.values()]


def _changes(rows: Sequence[Row], key: str) -> bool:
    """Whether rows that differ in this axis alone have different zero-shot scores."""
    seen: dict[tuple[tuple[str, str], ...], set[float]] = {}
    for row in rows:
        rest = tuple((axis, value) for axis, value in row.axes.items() if axis != key)
        seen.setdefault(rest, set()).add(round(row.stats["zero_shot"].mean or 0.0, 9))
    return any(len(scores) > 1 for scores in seen.values())


def cells(found: Pivot) -> list[list[str]]:
    """The table as texts: its header, and a line for each row, with signs for the marks."""
    axes = list(found.lines[0].axes) if found.lines else []
    lines = [[*axes, *found.columns, "mean"]]
    for line in found.lines:
        entries = [shown(line.entries[column]) for column in found.columns]
        mean = words.MISSING if line.mean is None else f"{100 * line.mean:.1f} {SIGNS[line.mark]}".rstrip()
        lines.append([*line.axes.values(), *entries, mean])
    return lines


def shown(entry: Entry) -> str:
    """A place as people read it, in points: ``72.0 ± 1.3 ★``."""
    if entry.stat.mean is None:
        return words.MISSING
    spread = "" if entry.stat.spread is None else f" ± {100 * entry.stat.spread:.1f}"
    return f"{100 * entry.stat.mean:.1f}{spread} {SIGNS[entry.mark]}".rstrip()


def markdown(found: Pivot) -> str:
    """The table in Markdown, the best of each column in bold."""
    header, *lines = cells(found)
    names = len(header) - len(found.columns) - 1
    marks = ["---"] * names + ["--:"] * (len(found.columns) + 1)
    text = [
        [f"**{escaped(cell)}**" if cell.endswith(SIGNS["best"]) else escaped(cell) for cell in line] for line in lines
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in [list(map(escaped, header)), marks, *text]) + "\n"


def comma_separated(found: Pivot) -> str:
    """The table as CSV with full precision: of each column mean, spread, number of seeds and mark."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    axes = list(found.lines[0].axes) if found.lines else []
    parts = ("", "_spread", "_n", "_mark")
    writer.writerow(
        safe([*axes, *(f"{column}{part}" for column in found.columns for part in parts), "mean", "mean_mark"])
    )
    for line in found.lines:
        numbers = [
            value
            for entry in line.entries.values()
            for value in (entry.stat.mean, entry.stat.spread, entry.stat.n, entry.mark)
        ]
        writer.writerow(safe([*line.axes.values(), *numbers, line.mean, line.mark]))
    return buffer.getvalue()


def legend(found: Pivot) -> list[str]:
    """What the table says below itself."""
    unranked = [line.name for line in found.lines if not line.ranked and not line.name.startswith(ZERO_SHOT)]
    told = [
        f"Columns: {found.axis}; final score in points, mean and sample standard deviation over the seeds.",
        f"{SIGNS['best']} (bold): the best of its column. {SIGNS['near']}: within the noise of it: its paired "
        "difference over seeds and examples has a 95% interval that holds zero.",
    ]
    if unranked:
        told.append(f"Not ranked, as they bound the others: {', '.join(dict.fromkeys(unranked))}.")
    return told
