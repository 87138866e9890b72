"""The table of what was tried: every candidate's score on the validation part, and which were taken."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from fedloom.core.files import write_atomic
from fedloom.report.csv_cells import safe
from fedloom.sweep.tuning import Candidate


def comma_separated(candidates: Sequence[Candidate]) -> str:
    """Every candidate's score as CSV, and which were taken."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    first = candidates[0]
    writer.writerow(safe([*first.axes, *first.values, "n", "examples", "score", "taken", "reason"]))
    for one in candidates:
        score = "" if one.mean is None else one.mean
        taken = "yes" if one.taken else "no"
        told = [*one.axes.values(), *one.values.values(), len(one.scores), one.examples, score, taken, one.reason]
        writer.writerow(safe(told))
    return buffer.getvalue()


def write(candidates: Sequence[Candidate], out: Path) -> None:
    """Write ``tune.csv``."""
    write_atomic(out / "tune.csv", comma_separated(candidates).encode())
