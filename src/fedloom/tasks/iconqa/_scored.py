"""Scoring predictions for IconQA as its authors do (their tools/sub_acc.py).

A prediction is right where ``str(prediction) == str(answer)`` of problems.json: the index of a choice, from 0, or the
words of a blank. All accuracies are micro averages; a question counts once for each of its skills.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fedloom.core.errors import FedloomError
from fedloom.tasks._common import LETTERS
from fedloom.tasks._folder import Record
from fedloom.tasks._icons.question import Kind
from fedloom.tasks._icons.skills import SKILLS
from fedloom.tasks._predictions import Missing, Said, Scored, counted, expected, named, table

PROBLEMS, SPLITS, OF_SKILLS = "problems.json", "pid_splits.json", "pid2skills.json"
KINDS: tuple[Kind, ...] = ("choose_img", "choose_txt", "fill_in_blank")


def iconqa(predictions: Mapping[str, Any], folder: Path, split: str = "test", missing: Missing = "refuse") -> Scored:
    """Score predictions by sub-task, skill, number of choices and words of the question.

    Args:
        predictions: by question id, as the authors' files have them (``tasks._predictions.read``).
        folder: the one that holds problems.json, pid_splits.json and, for the skills, pid2skills.json.
        split: ``train``, ``val``, ``test``, ``trainval``, ``minitrain``, ``minival`` or ``minitest``. Of it, the
            sub-tasks are scored that any prediction is of.
        missing: what a question without a prediction does. The authors' own count is ``"leave-out"``.

    Raises:
        FedloomError: a file is missing or not what it should be, an id is no question of the split, a question has no
            prediction (with ``"refuse"``) or no skill.
    """
    problems = table(folder, PROBLEMS, "of questions by their ids")
    ids = _questions(folder, split, predictions)
    scored, unanswered = expected(predictions, ids, missing, f"split {split!r}")
    named(
        f"{folder / SPLITS}: ids that {PROBLEMS} lacks or that are broken there",
        (id for id in ids if not _is_whole(problems.get(id))),
    )
    skills = _skills(folder, scored)
    given = {id: _prediction(problems[id], predictions[id]) for id in scored if id in predictions}
    rights = {id: id in given and str(given[id]) == str(problems[id]["answer"]) for id in scored}
    kinds = {id: problems[id]["ques_type"] for id in scored}
    choosing = [id for id in scored if kinds[id] != "fill_in_blank"]
    groups = [
        *counted("all", (("all", held) for held in rights.values()), ("all",)),
        *counted("sub-task", ((kinds[id], held) for id, held in rights.items()), KINDS),
        *counted("skill", ((skill, rights[id]) for id in scored for skill in skills.get(id, ())), tuple(SKILLS)),
        *counted("choices", ((str(len(problems[id]["choices"])), rights[id]) for id in choosing)),
        *counted("words", ((str(length(problems[id]["question"])), rights[id]) for id in scored)),
    ]
    beside = sum(not _possible(problems[id], given[id]) for id in choosing if id in given)
    return Scored("iconqa", split, tuple(groups), unanswered, missing, beside, "skill" if skills else "sub-task")


def length(question: str) -> int:
    """A question's words as the authors count them: without ``,`` and ``?``, ``'s`` a word, split at single spaces."""
    return len(question.replace(",", "").replace("?", "").replace("'s", " 's").split(" "))


def _questions(folder: Path, split: str, predictions: Mapping[str, Any]) -> list[str]:
    """Ids of a split, of those sub-tasks that any prediction is of.

    Raises:
        FedloomError: there is no such split, or none of its questions is predicted.
    """
    listed = table(folder, SPLITS, "of lists of question ids by sub-task and split")
    known = sorted({key.rpartition("_")[2] for key in listed})
    wanted = [listed[key] for kind in KINDS if isinstance(listed.get(key := f"{kind}_{split}"), list)]
    if not wanted:
        raise FedloomError(f"{folder / SPLITS}: has no split {split!r}. It has {', '.join(known)}.")
    parts = [[str(id) for id in part] for part in wanted]
    met = [part for part in parts if any(id in predictions for id in part)]
    if not met:
        named(f"predictions for ids that are no questions of split {split!r}", predictions, "Is it another --split?")
    return [id for part in met for id in part]


def _is_whole(problem: Any) -> bool:
    """Whether a problem has what its score depends on."""
    if not isinstance(problem, dict) or not isinstance(problem.get("question"), str) or "answer" not in problem:
        return False
    kind, choices = problem.get("ques_type"), problem.get("choices")
    return kind == "fill_in_blank" or (kind in KINDS and isinstance(choices, list))


def _skills(folder: Path, ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The skills of each question, each once; none where the folder does not tell.

    Raises:
        FedloomError: it tells of some questions alone.
    """
    if not (folder / OF_SKILLS).exists():
        return {}
    told = table(folder, OF_SKILLS, "of lists of skills by question ids")
    named(
        f"{folder / OF_SKILLS}: questions without a list of skills",
        (id for id in ids if not isinstance(told.get(id), list) or not told[id]),
    )
    return {id: tuple(dict.fromkeys(map(str, told[id]))) for id in ids}


def _prediction(problem: Record, given: Any) -> Any:
    """A prediction as the authors have it, of a run's own words: the index of a choice."""
    if not isinstance(given, Said) or problem["ques_type"] == "fill_in_blank":
        return given
    lettered = problem["ques_type"] == "choose_img"
    choices = LETTERS[: len(problem["choices"])] if lettered else [str(choice).strip() for choice in problem["choices"]]
    return list(choices).index(given) if given in choices else given


def _possible(problem: Record, prediction: Any) -> bool:
    return str(prediction) in {str(place) for place in range(len(problem["choices"]))}
