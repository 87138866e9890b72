"""What is written of a comparison: its outcome, tables, figures and page, of what is finished."""

from pathlib import Path

from fedloom.core.errors import FedloomError
from fedloom.core.files import write_atomic
from fedloom.report import compared, comparison, legend, outcome, table, tuned
from fedloom.report.differences import differences
from fedloom.report.outcome import Outcome
from fedloom.report.svg import save


def write(found: Outcome, out: Path) -> tuple[list[table.Row], list[str]]:
    """Write ``compare.json``, and tables, figures and page of what is finished; returns the rows and their legend.

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
    text = table.markdown(rows) + "".join(f"\n- {table.escaped(note)}" for note in notes) + "\n"
    write_atomic(out / "table.md", text.encode())
    write_atomic(out / "table.csv", table.comma_separated(rows).encode())
    metric = known[0][1].result.metric
    figures = {"scores": compared.cells(rows, metric), "bytes": compared.against_bytes(rows, metric)}
    if drawn := differences(rows):
        figures["differences"] = drawn
    for name, figure in figures.items():
        for ending in ("svg", "png"):
            save(figure, out / f"{name}.{ending}")
    comparison.page(out, out / "report.html")
    return rows, told
