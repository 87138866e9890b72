"""Scoring anybody's predictions as a benchmark's authors do: what all benchmarks share.

A file of predictions is JSON: ``{"results": {id: prediction}}``, whatever stands beside it, or ``{id: prediction}``.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fedloom.core.errors import FedloomError
from fedloom.tasks._folder import Record, blamed, contents, parsed

Missing = Literal["refuse", "wrong", "leave-out"]
"""What a question without a prediction does: refuse the file, count as wrong, or not count at all."""


class Said(str):
    """An answer in a run's own words: the choice itself, its letter, or what stands in a blank."""

    __slots__ = ()


@dataclass(frozen=True)
class Group:
    """How many of the ``count`` questions of a group are ``right``. ``by``: what groups them."""

    by: str
    name: str
    right: int
    count: int

    @property
    def accuracy(self) -> float | None:
        """From 0 to 1; ``None`` of no question."""
        return self.right / self.count if self.count else None


@dataclass(frozen=True)
class Scored:
    """Predictions scored. ``unanswered``: questions without a prediction, by what became of them (``missing``).
    ``beside``: predictions that are no possible answer, such as the index of a choice that there is not; they are
    wrong. ``picture``: the groups that are drawn."""

    benchmark: str
    split: str
    groups: tuple[Group, ...]
    unanswered: int
    missing: Missing
    beside: int
    picture: str

    @property
    def total(self) -> Group:
        """All questions."""
        return self.groups[0]


def read(files: Sequence[Path]) -> dict[str, Any]:
    """The predictions of several files, by question id.

    Raises:
        FedloomError: a file that cannot be read or holds no predictions, or an id that two files predict.
    """
    found: dict[str, Any] = {}
    for file in files:
        with blamed(file):
            said = parsed(contents(file), 'with "results", an object of predictions by question ids')
            results = said.get("results", said)
            if not isinstance(results, dict) or not results:
                raise ValueError('expected predictions by question ids, as {"results": {"id": prediction}}.')
            named(f"{file}: predictions that are neither a number nor text", (i for i, v in results.items() if _odd(v)))
        twice = found.keys() & results.keys()
        named(f"{file}: questions that an earlier file predicts too", twice, "Give each question one prediction.")
        found |= results
    return found


def _odd(value: object) -> bool:
    return not isinstance(value, str | int | float) or isinstance(value, bool)


def named(what: str, ids: Iterable[str], fix: str = "") -> None:
    """Refuse ids, where there are any, with their number and the first five.

    Raises:
        FedloomError: there are some.
    """
    found = list(ids)
    if found:
        first = ", ".join(map(repr, sorted(found, key=lambda id: (len(id), id))[:5]))
        raise FedloomError(f"{what}: {len(found)} ({first}{' ...' if len(found) > 5 else ''}). {fix}".rstrip())


def expected(predictions: Mapping[str, Any], ids: Collection[str], missing: Missing, of: str) -> tuple[list[str], int]:
    """The ids that are scored, in the benchmark's order, and how many of all have no prediction.

    Raises:
        FedloomError: predictions for other questions; questions without one, where these are refused.
    """
    questions = set(ids)
    named(f"predictions for ids that are no questions of {of}", (id for id in predictions if id not in questions))
    absent = [id for id in ids if id not in predictions]
    if missing == "refuse":
        named(
            f"questions of {of} without a prediction",
            absent,
            "Count them as wrong with --missing wrong, or leave them out with --missing leave-out.",
        )
    return [id for id in ids if missing != "leave-out" or id in predictions], len(absent)


def table(folder: Path, file: str, of: str) -> Record:
    """A benchmark's file, a JSON object.

    Raises:
        FedloomError: it is not there, or is none.
    """
    path = folder / file
    if not path.is_file():
        raise FedloomError(f"{folder}: has no {file}. Expected the benchmark's folder: pass --data FOLDER.")
    with blamed(path):
        return parsed(contents(path), of)


def counted(by: str, rights: Iterable[tuple[str, bool]], order: Sequence[str] = ()) -> list[Group]:
    """Groups of (name, whether it is right); in this order where it names one, then sorted, numbers by their size."""
    right, count = dict.fromkeys(order, 0), dict.fromkeys(order, 0)
    for name, held in rights:
        right[name] = right.get(name, 0) + held
        count[name] = count.get(name, 0) + 1
    names = [*order, *sorted(count.keys() - set(order), key=lambda name: (len(name), name))]
    return [Group(by, name, right[name], count[name]) for name in names if count[name]]
