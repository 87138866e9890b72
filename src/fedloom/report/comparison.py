"""The page of a comparison: one self-contained file about every row, finished or not."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from fedloom import __version__
from fedloom.core.errors import FedloomError
from fedloom.core.files import write_atomic
from fedloom.report import compared, legend, outcome, pivot, reported, svg, table
from fedloom.report.curves import curves
from fedloom.report.differences import differences
from fedloom.report.heat import heat
from fedloom.report.html import environment
from fedloom.report.outcome import Outcome, Ran
from fedloom.report.pivot import Pivot
from fedloom.report.runs import Run
from fedloom.report.table import Row

MANY = 60
"""Rows beyond which figures with a mark a row are left to the table of two ways."""


def page(folder: Path, out: Path) -> None:
    """Write the page about the comparison that ``folder`` holds, as far as it has come.

    Raises:
        FedloomError: no comparison is there, none of its cells is finished, or a file is broken.
    """
    found = outcome.load(folder)
    known = outcome.runs(found, folder)
    if not known:
        raise FedloomError(f"{folder}: not one cell of this comparison is finished yet; `fedloom compare` goes on.")
    rows = outcome.rows(found, folder, known)
    two_way = pivot.of(found, folder, known, rows)
    text = rendered(found, folder, known, rows, two_way, figures(found, rows, known, two_way))
    write_atomic(out, text.encode())


def rendered(
    found: Outcome,
    folder: Path,
    known: Sequence[tuple[Ran, Run]],
    rows: Sequence[Row],
    two_way: Pivot | None,
    drawn: Mapping[str, tuple[Figure, str]],
) -> str:
    """The page of what is read and drawn already."""
    return (
        environment()
        .get_template("comparison.html")
        .render(
            name=found.name,
            facts=_facts(found, known),
            table=table.cells(rows),
            left=table.left(rows),
            marks=[row.held.mark if row.held else "" for row in rows],
            adjusted=[_p(row) for row in rows],
            legend=legend.sentences(rows, found.baseline, found.candidates),
            figures={name: svg.inline(figure, name, label) for name, (figure, label) in drawn.items()},
            two_way=two_way,
            pivoted=pivot.cells(two_way) if two_way else [],
            pivot_legend=pivot.legend(two_way) if two_way else [],
            apart=[reported.load(source) for source in found.reported],
            apart_note=reported.NOTE,
            metric=known[0][1].result.metric,
            candidates=found.candidates,
            waiting=found.waiting(folder),
            count=len(found.cells),
            done=len(known),
            version=__version__,
        )
    )


def _facts(found: Outcome, known: Sequence[tuple[Ran, Run]]) -> list[str]:
    """What all cells have in common, in words."""
    run = known[0][1]
    varied = {axis.partition(".")[0] for axis in found.baseline} | {axis for cell in found.cells for axis in cell.axes}
    tables = [name for name in ("model", "task", "scenario", "method") if name not in varied]
    chosen = [str(run.settings.get(name, {}).get("name", "")) for name in tables]
    seeds = len({cell.seed for cell in found.cells})
    counts = [f"{run.result.clients} clients", f"{run.result.rounds} rounds", f"{seeds} seeds"]
    return [fact for fact in [*chosen, *counts] if fact]


def _p(row: Row) -> str:
    if row.held is None or row.held.difference.p is None or row.held.adjusted is None:
        return ""
    return f"p {_small(row.held.difference.p)}, Holm {_small(row.held.adjusted)}"


def _small(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def figures(
    found: Outcome, rows: Sequence[Row], known: Sequence[tuple[Ran, Run]], two_way: Pivot | None
) -> dict[str, tuple[Figure, str]]:
    """The figures by name, each with a label; one that has nothing to show is left out. Where a table of two ways has
    too many rows for a mark a row (``MANY``), its picture stands for them."""
    metric = known[0][1].result.metric
    drawn: dict[str, tuple[Figure | None, str]] = {}
    if two_way:
        drawn["pivot"] = heat(two_way), f"final {metric} of each row by {two_way.axis}"
    if not two_way or len(rows) <= MANY:
        names = {tuple(row.axes.items()): _name(row.axes, rows) for row in rows}
        runs: dict[str, list[Run]] = {}
        for cell, run in known:
            runs.setdefault(names[tuple(cell.axes.items())], []).append(run)
        behind = {
            names[tuple(row.axes.items())]: names.get(tuple((row.axes | found.baseline).items()), "") for row in rows
        }
        drawn |= {
            "differences": (differences(rows), "difference of each row from the baseline, with its interval"),
            "scores": (compared.cells(rows, metric), f"final {metric} of each row with its standard deviation"),
            "curves": (curves(runs, behind, metric), f"{metric} after each round, mean and deviation over seeds"),
            "bytes": (compared.against_bytes(rows, metric), f"final {metric} against bytes sent"),
        }
    return {name: (figure, label) for name, (figure, label) in drawn.items() if figure is not None}


def _name(axes: dict[str, str], rows: Sequence[Row]) -> str:
    """A row by the axes that vary."""
    varying = [axis for axis in axes if len({row.axes[axis] for row in rows}) > 1] or list(axes)
    return " \N{MIDDLE DOT} ".join(axes[axis] for axis in varying)
