"""Choosing rates: the same grid for every combination, measured on the validation part, the best value taken."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from fedloom.federation.record import RunFolder
from fedloom.sweep.cells import Cell, Choices

NOT_FINISHED = "not finished"


@dataclass(frozen=True)
class Candidate:
    """One combination with one point of the grid. ``scores``: on the validation part, one a seed; empty where one of
    its runs has none, and then ``reason`` says why. ``taken``: the combination is measured with ``values``."""

    axes: Choices
    values: Choices
    scores: list[float]
    examples: int = 0
    reason: str = ""
    taken: bool = False

    @property
    def mean(self) -> float | None:
        """Its score over the seeds; ``None`` where it has none."""
        return fmean(self.scores) if self.scores else None


@dataclass(frozen=True)
class Tuned:
    """What came of the trials: every candidate, and the values chosen by combination (as it was given)."""

    candidates: list[Candidate]
    chosen: dict[tuple[str, ...], Choices]


def choose(trials: Sequence[Cell], out: Path, failed: Sequence[tuple[Cell, str]] = ()) -> Tuned:
    """Take each combination's best candidate, the first of equal ones; one that failed under any seed is none."""
    reasons = {cell.folder: reason for cell, reason in failed}
    groups: dict[tuple[str, ...], dict[tuple[str, ...], list[Cell]]] = {}
    for cell in trials:
        own = groups.setdefault(tuple(cell.choices.values()), {})
        own.setdefault(tuple(cell.chosen.values()), []).append(cell)
    tuned = Tuned([], {})
    for combination, grid in groups.items():
        found = [_candidate(cells, out, reasons) for cells in grid.values()]
        best = max((c.mean for c in found if c.mean is not None), default=None)
        first = next((index for index, c in enumerate(found) if c.mean is not None and c.mean == best), None)
        for index, (cells, one) in enumerate(zip(grid.values(), found, strict=True)):
            tuned.candidates.append(replace(one, taken=index == first))
            if index == first:
                tuned.chosen[combination] = cells[0].chosen
    return tuned


def _candidate(cells: Sequence[Cell], out: Path, reasons: Mapping[Path, str]) -> Candidate:
    scores, examples, reason = [], 0, ""
    for cell in cells:
        result = RunFolder(out / cell.folder).finished(0)
        if result is None:
            reason = reason or reasons.get(cell.folder, NOT_FINISHED)
            continue
        scores.append(float(result["final"]))
        examples = int(result["measured"]["examples"])
    return Candidate(cells[0].axes, cells[0].rates, [] if reason else scores, examples, reason)


def at_an_end(candidates: Iterable[Candidate]) -> list[Candidate]:
    """The taken candidates whose value is the least or the greatest of its grid: a better one may lie beyond."""
    known = list(candidates)
    found = []
    for one in (each for each in known if each.taken):
        for key, value in one.values.items():
            numbers = sorted({number for c in known if (number := _number(c.values[key])) is not None})
            if len(numbers) > 2 and _number(value) in (numbers[0], numbers[-1]):
                found.append(one)
                break
    return found


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
