"""Scoring predictions for ScienceQA as its authors do (their tools/evaluate_acc.py): nine columns that overlap.

NAT, SOC, LAN   the subject: natural, social, language science
TXT, IMG, NO    with a hint; with a picture; with neither
G1-6, G7-12     the grade
Avg             all questions
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedloom.core.errors import FedloomError, nearest
from fedloom.tasks._common import LETTERS
from fedloom.tasks._folder import Record
from fedloom.tasks._predictions import Group, Missing, Said, Scored, expected, named, table

PROBLEMS, SPLITS = "problems.json", "pid_splits.json"
SUBJECTS = {"NAT": "natural science", "SOC": "social science", "LAN": "language science"}
COLUMNS = ("NAT", "SOC", "LAN", "TXT", "IMG", "NO", "G1-6", "G7-12")


def scienceqa(predictions: Mapping[str, Any], folder: Path, split: str = "test", missing: Missing = "refuse") -> Scored:
    """Score predictions by the authors' nine columns. A prediction is the index of a choice, from 0.

    Args:
        predictions: by question id, as the authors' files have them (``tasks._predictions.read``).
        folder: the one that holds problems.json and pid_splits.json.
        split: a split of pid_splits.json, ``test``, ``minitest`` ...
        missing: what a question without a prediction does; the authors refuse it.

    Raises:
        FedloomError: a file is missing or not what it should be, an id is no question of the split, a question has no
            prediction (with ``"refuse"``), or a prediction is no whole number.
    """
    problems = table(folder, PROBLEMS, "of questions by their ids")
    listed = table(folder, SPLITS, "of lists of question ids by the names of splits")
    if not isinstance(listed.get(split), list):
        raise FedloomError(f"{folder / SPLITS}: has no split {split!r}. {nearest(split, listed)}")
    ids = [str(id) for id in listed[split]]
    scored, unanswered = expected(predictions, ids, missing, f"split {split!r}")
    named(
        f"{folder / SPLITS}: ids that {PROBLEMS} lacks or that are broken there",
        (id for id in ids if not _whole(problems.get(id))),
    )
    answers = {id: _number(predictions[id]) for id in scored if id in predictions}
    named("predictions that are no whole number, the index of a choice", (id for id, n in answers.items() if n is None))
    rights = {id: answers.get(id) == int(problems[id]["answer"]) for id in scored}
    columns = {id: _columns(problems[id]) for id in scored}
    groups = [Group("column", "Avg", sum(rights.values()), len(rights))]
    for column in COLUMNS:
        held = [rights[id] for id in scored if column in columns[id]]
        groups.append(Group("column", column, sum(held), len(held)))
    beside = sum(not 0 <= number < len(problems[id]["choices"]) for id, number in answers.items() if number is not None)
    return Scored("scienceqa", split, tuple(groups), unanswered, missing, beside, "column")


def _whole(problem: Any) -> bool:
    return (
        isinstance(problem, dict)
        and isinstance(problem.get("choices"), list)
        and isinstance(answer := problem.get("answer"), int)
        and 0 <= answer < len(problem["choices"])
    )


def _number(prediction: Any) -> int | None:
    """What the authors' ``int(...)`` makes of a prediction, but no fraction cut short."""
    if isinstance(prediction, Said) and len(prediction) == 1 and prediction in LETTERS:
        return LETTERS.index(prediction)
    try:
        number = int(prediction)
        return number if float(number) == float(prediction) else None
    except (ValueError, OverflowError):
        return None


def _columns(problem: Record) -> set[str]:
    found = {column for column, subject in SUBJECTS.items() if problem.get("subject") == subject}
    hint, image = bool(problem.get("hint")), bool(problem.get("image"))
    found |= {"TXT"} if hint else set()
    found |= {"IMG"} if image else set()
    found |= set() if hint or image else {"NO"}
    grade = str(problem.get("grade", "")).removeprefix("grade")
    if grade.isdecimal() and 1 <= int(grade) <= 12:
        found.add("G1-6" if int(grade) <= 6 else "G7-12")
    return found
