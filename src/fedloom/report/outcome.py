"""A comparison's folder as it stands, finished or not: ``compare.json`` and the cells that it names."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from fedloom.core.errors import FedloomError
from fedloom.core.files import read_text, write_atomic
from fedloom.report import paired, table
from fedloom.report.runs import Run, read
from fedloom.sweep.axes import short
from fedloom.sweep.cells import Cell, Choices, Comparison
from fedloom.sweep.tuning import Candidate, Tuned

FILE = "compare.json"
Combination = tuple[tuple[str, str], ...]
"""The axes of a cell and its values, without the seed."""

AGAIN = "Run the same `fedloom compare` again: it writes the file anew."


class Ran(BaseModel):
    """One cell: where it lies below the comparison's folder, and why it has no result (``""``: it has, or waits)."""

    model_config = ConfigDict(frozen=True)

    name: str
    axes: Choices
    seed: int
    folder: str
    rates: Choices = {}
    reason: str = ""


class Outcome(BaseModel):
    """What a comparison consists of; the results themselves are in its cells."""

    model_config = ConfigDict(frozen=True)

    name: str
    baseline: Choices
    cells: list[Ran]
    candidates: list[Candidate] = []
    columns: str = ""
    by: str = ""
    unranked: list[dict[str, list[str]]] = []
    reported: list[str] = []

    def finished(self, out: Path) -> list[Ran]:
        """The cells that have a result."""
        return [cell for cell in self.cells if (out / cell.folder / "result.json").is_file()]

    def waiting(self, out: Path) -> dict[str, str]:
        """What has no result, and why, in words."""
        done = {cell.folder for cell in self.finished(out)}
        found = {c.name: c.reason or "not finished" for c in self.cells if c.folder not in done}
        groups: dict[str, list[Candidate]] = {}
        for one in self.candidates:
            groups.setdefault(_words(one.axes), []).append(one)
            if one.reason:
                found[f"trial {_words(one.axes | one.values)}"] = one.reason
        for name, group in groups.items():
            if not any(one.taken for one in group):
                found[name] = "no trial gave a score, so nothing was chosen"
        return found


def outcome(name: str, made: Comparison, cells: Sequence[Cell], tuned: Tuned | None = None) -> Outcome:
    """The outcome of a comparison's cells before any has run."""
    listed = [Ran(name=c.name, axes=c.axes, seed=c.seed, folder=c.folder.as_posix(), rates=c.rates) for c in cells]
    table = made.table
    return Outcome(
        name=name,
        baseline=made.baseline,
        cells=listed,
        candidates=tuned.candidates if tuned else [],
        columns=short(table.columns),
        by=table.by,
        unranked=table.unranked,
        reported=table.reported,
    )


def failed(found: Outcome, reasons: Sequence[tuple[Cell, str]]) -> Outcome:
    """The outcome with the reasons why cells have no result."""
    by_folder = {cell.folder.as_posix(): reason for cell, reason in reasons}
    told = [cell.model_copy(update={"reason": by_folder.get(cell.folder, "")}) for cell in found.cells]
    return found.model_copy(update={"cells": told})


def save(found: Outcome, out: Path) -> None:
    """Write ``compare.json``."""
    write_atomic(out / FILE, (found.model_dump_json(indent=1) + "\n").encode())


def load(out: Path) -> Outcome:
    """The outcome that a comparison's folder holds.

    Raises:
        FedloomError: there is none, or the file is broken.
    """
    file = out / FILE
    if not file.is_file():
        raise FedloomError(
            f"{file} is missing: no run of this comparison has begun, or an older release made it. Run its `fedloom "
            "compare` again; finished runs are only read."
        )
    try:
        return Outcome.model_validate_json(read_text(file))
    except OSError as error:
        raise FedloomError(f"{file}: cannot be read: {error}. `fedloom compare` writes it.") from None
    except ValidationError as error:
        told = error.errors()[0]["msg"]
        raise FedloomError(f"{file}: {told}. {AGAIN}") from None
    except UnicodeDecodeError:
        raise FedloomError(f"{file}: it is no UTF-8. {AGAIN}") from None


def runs(found: Outcome, out: Path) -> list[tuple[Ran, Run]]:
    """The finished cells with what their folders hold.

    Raises:
        FedloomError: a folder, or a file in it, is broken.
    """
    return [(cell, read(out / cell.folder)) for cell in found.finished(out)]


def rows(found: Outcome, out: Path, known: Sequence[tuple[Ran, Run]]) -> list[table.Row]:
    """The table's rows: every combination of which a seed is finished, held against the baseline."""
    made = table.rows((cell.axes, run.result) for cell, run in known)
    rates = {tuple(cell.axes.items()): cell.rates for cell, _ in known}
    scores = scored(out, known)
    against = " ".join(f"{axis}={value}" for axis, value in found.baseline.items())
    held: list[paired.Held | None] = []
    for row in made:
        own, base = tuple(row.axes.items()), tuple((row.axes | found.baseline).items())
        comparable = own != base and own in scores and base in scores
        difference = paired.difference(scores[own], scores[base]) if comparable else None
        held.append(paired.Held(against, difference) if difference else None)
    return [
        replace(row, rates=rates[tuple(row.axes.items())], held=one)
        for row, one in zip(made, paired.adjusted(held), strict=True)
    ]


def scored(out: Path, known: Sequence[tuple[Ran, Run]]) -> dict[Combination, dict[int, paired.Scored]]:
    """The finished runs' scores by combination and seed."""
    scores: dict[Combination, dict[int, paired.Scored]] = {}
    for cell, run in known:
        if one := paired.scored(out / cell.folder, run.result):
            scores.setdefault(tuple(cell.axes.items()), {})[cell.seed] = one
    return scores


def _words(choices: Choices) -> str:
    return " ".join(f"{key}={value}" for key, value in choices.items())
