"""What is written of a comparison: its outcome, tables, figures and page, of what is finished."""

from collections.abc import Sequence
from pathlib import Path

from fedloom.core.errors import FedloomError
from fedloom.core.files import write_atomic
from fedloom.report import by_field, comparison, legend, outcome, pivot, reported, table, tuned
from fedloom.report.outcome import Outcome
from fedloom.report.runs import Run
from fedloom.report.svg import save


def write(found: Outcome, out: Path) -> tuple[list[table.Row], list[str], pivot.Pivot | None]:
    """Write ``compare.json``, and tables, figures and page of what is finished; returns the rows, their legend, and the
    table of two ways where there is one.

    Raises:
        FedloomError: no cell is finished.
    """
    outcome.save(found, out)
    if found.candidates:
        tuned.write(found.candidates, out)
    known, waiting = outcome.runs(found, out), found.waiting(out)
    if not known:
        raise FedloomError("compare: not one cell finished. " + " ".join(list(waiting.values())[:1]))
    rows = outcome.rows(found, out, known)
    told = legend.sentences(rows, found.baseline, found.candidates)
    notes = [*told, *(f"not finished: {name}: {reason}" for name, reason in waiting.items())]
    text = table.markdown(rows) + _listed(notes)
    text += _by_field(found, out, known)
    apart = [reported.load(source) for source in found.reported]
    two_way = pivot.of(found, out, known, rows)
    if two_way:
        text = pivot.markdown(two_way) + _listed(pivot.legend(two_way)) + "\n" + text
        write_atomic(out / "pivot.csv", pivot.comma_separated(two_way).encode())
    write_atomic(out / "table.md", (text + ("\n" + reported.markdown(apart) if apart else "")).encode())
    write_atomic(out / "table.csv", table.comma_separated(rows).encode())
    drawn = comparison.figures(found, rows, known, two_way)
    page = comparison.rendered(found, out, known, rows, two_way, drawn)
    write_atomic(out / "report.html", page.encode())
    for name in drawn.keys() - {"curves"}:  # which stand on the page alone
        for ending in ("svg", "png"):
            save(drawn[name][0], out / f"{name}.{ending}")
    return rows, pivot.legend(two_way) if two_way else told, two_way


def _by_field(found: Outcome, out: Path, known: "Sequence[tuple[outcome.Ran, Run]]") -> str:
    """Write what tells scores apart by a field; where that cannot be, the table says why, and is there."""
    try:
        if by := by_field.of(found, out, known):
            by_field.write(by, out)
    except FedloomError as error:
        return _listed([str(error)])
    return ""


def _listed(notes: Sequence[str]) -> str:
    return "".join(f"\n- {table.escaped(note)}" for note in notes) + "\n"
