"""A benchmark's scores: predictions from files and run folders, the table, its CSV, and a bar a group."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from fedloom.core.errors import FedloomError
from fedloom.federation.written import KINDS
from fedloom.report.csv_cells import safe
from fedloom.report.files import whole
from fedloom.report.intervals import proportion
from fedloom.report.svg import INK, SERIES, canvas, percent, plain, save
from fedloom.tasks import _predictions
from fedloom.tasks._predictions import Group, Missing, Said, Scored
from fedloom.tasks._scienceqa_scored import scienceqa
from fedloom.tasks.iconqa._scored import iconqa

BENCHMARKS: dict[str, Callable[[Mapping[str, Any], Path, str, Missing], Scored]] = {
    "iconqa": iconqa,
    "scienceqa": scienceqa,
}
AFTER = "after.json"


def predictions(paths: Sequence[Path]) -> dict[str, Any]:
    """Predictions by question id, of files in the authors' format and of run folders.

    Raises:
        FedloomError: one of them cannot be read, or predicts what an earlier one does.
    """
    found = _predictions.read([path for path in paths if not path.is_dir()])
    for folder in (path for path in paths if path.is_dir()):
        run = whole(folder / AFTER, KINDS[AFTER])
        if not run.ids or not run.answers:
            raise FedloomError(
                f"{folder / AFTER}: tells no answers by example. Is it of a run whose clients answered "
                "(evaluation.where = 'clients')? Then nobody else has them."
            )
        twice = found.keys() & set(run.ids)
        _predictions.named(f"{folder}: questions that an earlier file predicts too", twice)
        found |= {id: Said(answer) for id, answer in zip(run.ids, run.answers, strict=True)}
    return found


def cells(scored: Scored) -> list[list[str]]:
    """The table as texts: a header, and a line a group; accuracy in percent with two decimals, as the authors have it,
    and Wilson's 95% interval."""
    lines = [["by", "group", "accuracy", "95%", "right", "questions"]]
    for group in scored.groups:
        lines.append([group.by, group.name, *_told(group), str(group.right), str(group.count)])
    return lines


def _told(group: Group) -> tuple[str, str]:
    if group.accuracy is None:
        return "none", ""
    low, high = proportion(group.accuracy, group.count)
    return f"{100 * group.accuracy:.2f}", f"{100 * low:.1f} to {100 * high:.1f}"


def notes(scored: Scored) -> list[str]:
    """What is to be said below the table."""
    told = []
    if scored.unanswered:
        became = "left out" if scored.missing == "leave-out" else "counted as wrong"
        told.append(f"{scored.unanswered} questions of split {scored.split!r} without a prediction: {became}")
    if scored.beside:
        told.append(f"{scored.beside} predictions name a choice that there is not: counted as wrong")
    return told


def comma_separated(scored: Scored) -> str:
    """Every group, with accuracy in full precision."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["by", "group", "accuracy", "low", "high", "right", "questions"])
    for group in scored.groups:
        low, high = proportion(group.accuracy, group.count) if group.accuracy is not None else ("", "")
        accuracy = "" if group.accuracy is None else group.accuracy
        writer.writerow(safe([group.by, group.name, accuracy, low, high, group.right, group.count]))
    return buffer.getvalue()


def bars(scored: Scored) -> Figure:
    """A bar for each group of what is drawn, with Wilson's interval; the line is all questions."""
    shown = [group for group in scored.groups if group.by == scored.picture and group.count]
    figure, axes = canvas(height=0.8 + 0.24 * len(shown), grid="x")
    values = [group.right / group.count for group in shown]
    ends = [proportion(value, group.count) for value, group in zip(values, shown, strict=True)]
    reach = [[max(0.0, v - low) for v, (low, _) in zip(values, ends, strict=True)]]
    reach += [[max(0.0, high - v) for v, (_, high) in zip(values, ends, strict=True)]]
    places = range(len(shown))
    axes.barh(places, values, height=0.62, color=SERIES[0])
    axes.errorbar(values, places, xerr=reach, fmt="none", ecolor=INK, elinewidth=0.8)
    axes.set_yticks(places, [f"{plain(group.name)} ({group.count})" for group in shown])
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    if (total := scored.total.accuracy) is not None:
        axes.axvline(total, color=SERIES[1], linewidth=1)
    percent(axes.xaxis)
    axes.set_xlabel(f"accuracy by {scored.picture}, line: all {scored.total.count} questions")
    axes.spines["left"].set_visible(False)
    return figure


def write(scored: Scored, folder: Path) -> list[Path]:
    """Write CSV and picture into a folder; their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    table, picture = folder / "scores.csv", folder / f"{scored.picture}s.png"
    table.write_text(comma_separated(scored), encoding="utf-8")
    save(bars(scored), picture)
    return [table, picture]
