"""What the scores of a page are held against: the bounds, a choice at random, always the same answer."""

from collections.abc import Sequence
from dataclasses import dataclass

from fedloom.core.keys import TABLES
from fedloom.core.table import spelled
from fedloom.report.runs import Run
from fedloom.report.svg import INK, SERIES

BOUNDS = {
    "local": ("each client alone", SERIES[4], (0, (1.5, 1.5))),
    "centralised": ("all data in one place", SERIES[2], (0, (7, 2))),
}
"""Methods that the others stand between: in words, colour and dashes."""

NAMES = tuple(name for name, *_ in BOUNDS.values())

SAME = ("seed", "model", "task", "scenario", "modality")
"""What a bound and the run that it bounds have in common."""

Dashes = tuple[int, tuple[float, ...]]


@dataclass(frozen=True)
class Line:
    """A score that stands as a level line in a figure."""

    name: str
    score: float
    colour: str
    dashes: Dashes


def method(run: Run) -> str:
    """The name of the run's method."""
    return str(run.settings.get("method", {}).get("name", ""))


def bounds(runs: Sequence[Run]) -> list[Run]:
    """The runs that are no more than bounds of the others: one a kind, of the same task, data and model as all others,
    and finished. None where there is nothing to bound."""
    others = [run for run in runs if method(run) not in BOUNDS]
    found = [run for run in runs if method(run) in BOUNDS and run.finished and run.result.final is not None]
    found = [run for run in found if [method(one) for one in runs].count(method(run)) == 1]
    return [run for run in found if others and all(_alike(run, other) for other in others)]


def lines(bounding: Sequence[Run], others: Sequence[Run]) -> list[Line]:
    """The lines of a page: its bounds, and of chance and the most frequent answer what all ``others`` agree on."""
    found = [
        Line(BOUNDS[method(run)][0], run.result.final or 0.0, *BOUNDS[method(run)][1:])
        for run in sorted(bounding, key=lambda run: list(BOUNDS).index(method(run)))
    ]
    chances = {run.result.chance for run in others}
    if len(chances) == 1 and (chance := chances.pop()) is not None:
        found.append(Line("a choice at random", chance, INK, (0, (1, 3))))
    majority = others[0].result.majority
    if majority is not None and all(run.result.majority == majority for run in others):
        found.append(Line(_always(majority.answer), majority.score, INK, (0, (6, 2, 1, 2))))
    return found


def _always(answer: str | None) -> str:
    """The most frequent answer by name; each example's own has none."""
    if answer is None:
        return "most frequent choice"
    shown = answer if len(answer) <= 14 else answer[:13] + "\u2026"
    return f"always \u201c{shown}\u201d"


def _alike(one: Run, other: Run) -> bool:
    return all(_settings(one, key) == _settings(other, key) for key in SAME)


def _settings(run: Run, key: str) -> object:
    """What a run's folder says under a key; of a table, with the defaults of keys that it was written without."""
    found, table = run.settings.get(key, {}), TABLES.get(key)
    if table is None:
        return found
    fields = table.model_fields.items()
    return {spelled(name): field.get_default(call_default_factory=True) for name, field in fields} | found
