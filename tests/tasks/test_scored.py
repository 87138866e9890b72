"""Predictions are scored as the authors score them: against counts that are made here in another way."""

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from fedloom.core.errors import FedloomError
from fedloom.tasks._icons.skills import SKILLS
from fedloom.tasks._predictions import Said, Scored, read
from fedloom.tasks._scienceqa_scored import scienceqa
from fedloom.tasks.iconqa._scored import iconqa, length
from tests.tasks.folders import iconqa_folder, scienceqa_folder

KINDS = ("choose_img", "choose_txt", "fill_in_blank")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 questions with one to four skills each, and another split's."""
    place, rng = tmp_path_factory.mktemp("iconqa"), random.Random(5)
    problems: dict[str, Any] = {}
    skills, splits = {}, {f"{kind}_{split}": list[str]() for kind in KINDS for split in ("test", "val", "minitest")}
    for number in range(330):
        kind, among = KINDS[number % 3], rng.randint(2, 5)
        problem: dict[str, Any] = {"ques_type": kind, "grade": "grade1", "label": "K1"}
        problem["question"] = " ".join(["dots"] * rng.randint(1, 8)) + rng.choice(["?", ", Tom's?", " here, there?"])
        problem["choices"] = None if kind == "fill_in_blank" else [f"way {n}" for n in range(among)]
        problem["answer"] = str(rng.randint(0, 20)) if kind == "fill_in_blank" else rng.randrange(among)
        problems[str(number)] = problem
        skills[str(number)] = rng.sample(list(SKILLS), rng.randint(1, 4))
        splits[f"{kind}_{'test' if number < 300 else 'val'}"].append(str(number))
        if number < 30:
            splits[f"{kind}_minitest"].append(str(number))
    for name, content in (("problems", problems), ("pid2skills", skills), ("pid_splits", splits)):
        (place / f"{name}.json").write_text(json.dumps(content))
    return place


def predicted(folder: Path, until: int = 300, seed: int = 0) -> dict[str, Any]:
    """Three in five right; the others the index of some choice, or of one that there is not."""
    rng, problems = random.Random(seed), json.loads((folder / "problems.json").read_text())
    return {
        str(n): problems[str(n)]["answer"] if rng.random() < 0.6 else rng.choice([0, 1, "2", 3, 7, "12"])
        for n in range(until)
    }


def by(found: Scored, what: str) -> dict[str, tuple[int, int]]:
    return {group.name: (group.right, group.count) for group in found.groups if group.by == what}


def test_iconqa_agrees_with_an_independent_count(folder: Path) -> None:
    predictions = predicted(folder)
    found = iconqa(predictions, folder)
    problems = pd.DataFrame(json.loads((folder / "problems.json").read_text())).T
    told = problems.loc[[id for id in problems.index if int(id) < 300]].copy()
    told["right"] = [str(predictions[id]) == str(answer) for id, answer in told["answer"].items()]
    told["words"] = [
        question.translate(str.maketrans("", "", ",?")).replace("'s", " 's").count(" ") + 1
        for question in told["question"]
    ]
    assert found.total.accuracy == told["right"].mean()
    for what, column in (("sub-task", "ques_type"), ("words", "words")):
        grouped = told.groupby(column)["right"].agg(["sum", "size"])
        assert by(found, what) == {str(name): (int(a), int(n)) for name, (a, n) in grouped.T.items()}
    choosing = told[told["ques_type"] != "fill_in_blank"]
    grouped = choosing.groupby(choosing["choices"].map(len))["right"].agg(["sum", "size"])
    assert by(found, "choices") == {str(name): (int(a), int(n)) for name, (a, n) in grouped.T.items()}
    skills = json.loads((folder / "pid2skills.json").read_text())
    asked = Counter(skill for id in told.index for skill in skills[id])
    right = Counter(skill for id in told.index[told["right"]] for skill in skills[id])
    assert by(found, "skill") == {skill: (right[skill], asked[skill]) for skill in asked}
    assert sum(asked.values()) > 600  # several skills each, a question counts for all of its own
    outside = [id for id in choosing.index if not 0 <= int(predictions[id]) < len(problems.loc[id, "choices"])]
    assert found.beside == len(outside) > 0


def test_a_question_counts_once_for_a_skill_that_stands_twice(folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "twice"
    place.mkdir()
    for file in folder.iterdir():
        (place / file.name).write_text(file.read_text())
    skills = json.loads((folder / "pid2skills.json").read_text())
    (place / "pid2skills.json").write_text(json.dumps({id: [*own, *own] for id, own in skills.items()}))
    assert iconqa(predicted(folder), place) == iconqa(predicted(folder), folder)


def test_length_by_hand() -> None:
    assert length("How many are Tom's, Ann's?") == 7  # How many are Tom 's Ann 's
    assert length("a  b") == 3  # the authors split at single spaces: an empty word between two of them counts


def test_sub_tasks_without_a_prediction_are_not_asked_for(folder: Path) -> None:
    problems = json.loads((folder / "problems.json").read_text())
    one = {id: value for id, value in predicted(folder).items() if problems[id]["ques_type"] == "choose_txt"}
    assert by(iconqa(one, folder), "sub-task").keys() == {"choose_txt"}
    assert iconqa(predicted(folder, 30), folder, "minitest").total.count == 30


def test_what_is_missing_is_refused_wrong_or_left_out(folder: Path) -> None:
    predictions = predicted(folder)
    problems = json.loads((folder / "problems.json").read_text())
    gone = ["7", "100", "101"]
    for id in gone:
        predictions[id] = problems[id]["answer"]
    whole = iconqa(predictions, folder)
    less = {id: value for id, value in predictions.items() if id not in gone}
    with pytest.raises(FedloomError, match=r"without a prediction: 3 \('7', '100', '101'\).*--missing wrong"):
        iconqa(less, folder)
    wrong, out = iconqa(less, folder, missing="wrong"), iconqa(less, folder, missing="leave-out")
    assert (wrong.total.right, wrong.total.count) == (whole.total.right - 3, 300)
    assert (out.total.right, out.total.count) == (whole.total.right - 3, 297)
    assert wrong.unanswered == out.unanswered == 3


def test_ids_of_no_question_are_refused_with_their_number(folder: Path) -> None:
    known = predicted(folder)
    strange = dict.fromkeys(["990", "x", "310", "311", "312", "313"], 0)
    with pytest.raises(FedloomError, match=r"no questions of split 'test': 6 \('x', '310', '311', '312', '313' \.\.\."):
        iconqa(known | strange, folder)
    with pytest.raises(FedloomError, match=r"no questions of split 'val': 30 .*another --split"):
        iconqa(predicted(folder, 30), folder, "val")
    with pytest.raises(FedloomError, match=r"has no split 'tset'\. It has minitest, test, val"):
        iconqa(known, folder, "tset")


def test_broken_problems_and_skills_are_refused(folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "broken"
    place.mkdir()
    for file in folder.iterdir():
        (place / file.name).write_text(file.read_text())
    skills = json.loads((folder / "pid2skills.json").read_text())
    (place / "pid2skills.json").write_text(json.dumps(skills | {"4": []}))
    with pytest.raises(FedloomError, match=r"pid2skills\.json: questions without a list of skills: 1 \('4'\)"):
        iconqa(predicted(folder), place)
    (place / "pid2skills.json").unlink()
    assert iconqa(predicted(folder), place).picture == "sub-task"
    problems = json.loads((folder / "problems.json").read_text())
    for broken in (None, {**problems["0"], "choices": None}, {**problems["0"], "ques_type": "choose"}, {"answer": 1}):
        (place / "problems.json").write_text(json.dumps(problems | {"0": broken}))
        with pytest.raises(FedloomError, match=r"pid_splits\.json: ids that problems\.json lacks .* 1 \('0'\)"):
            iconqa(predicted(folder), place)


def test_a_runs_own_words_are_read_as_the_choices_that_they_are(tmp_path: Path) -> None:
    place = iconqa_folder(tmp_path / "data")
    problems = json.loads((place / "problems.json").read_text())
    test = {id: problem for id, problem in problems.items() if problem["split"] == "test"}
    right = {}
    for id, problem in test.items():
        answer = problem["answer"]
        letters = {"choose_img": lambda n: "ABCDE"[n], "choose_txt": lambda n, c=problem: c["choices"][n]}
        right[id] = Said(letters.get(problem["ques_type"], str)(answer))
    assert iconqa(right, place).total.accuracy == 1.0
    wrong = right | {id: Said("Z") for id in test}
    assert iconqa(wrong, place).total.right == 0


def test_files_are_merged_and_none_predicts_what_another_does(tmp_path: Path) -> None:
    one, two = tmp_path / "one.json", tmp_path / "two.json"
    one.write_text(json.dumps({"accuracy": 61.2, "args": {"task": "choose_txt"}, "results": {"1": 0, "2": "1"}}))
    two.write_text(json.dumps({"3": 2.0}))
    assert read([one, two]) == {"1": 0, "2": "1", "3": 2.0}
    two.write_text(json.dumps({"2": 1, "3": 2}))
    with pytest.raises(FedloomError, match=r"two\.json: questions that an earlier file predicts too: 1 \('2'\)"):
        read([one, two])
    for content, match in (
        ("{", "not valid JSON"),
        ("[]", "expected a JSON object"),
        ('{"results": []}', "expected predictions by question ids"),
        ('{"1": null, "2": [0], "3": true}', r"neither a number nor text: 3 \('1', '2', '3'\)"),
    ):
        one.write_text(content)
        with pytest.raises(FedloomError, match=match):
            read([one])


@pytest.fixture(scope="module")
def science(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 questions of every subject and grade, with and without hint and picture."""
    place, rng = tmp_path_factory.mktemp("scienceqa"), random.Random(8)
    problems: dict[str, Any] = {}
    for number in range(200):
        among = rng.randint(2, 5)
        problems[str(number)] = {
            "question": "Which?",
            "choices": [f"way {n}" for n in range(among)],
            "answer": rng.randrange(among),
            "hint": rng.choice(["", "", "Look."]),
            "image": rng.choice([None, None, "image.png"]),
            "subject": rng.choice(["natural science", "social science", "language science"]),
            "grade": f"grade{rng.randint(1, 12)}",
            "split": "test",
        }
    (place / "problems.json").write_text(json.dumps(problems))
    (place / "pid_splits.json").write_text(json.dumps({"test": list(problems), "minitest": list(problems)[:20]}))
    return place


def test_scienceqa_agrees_with_an_independent_count(science: Path) -> None:
    problems = json.loads((science / "problems.json").read_text())
    rng = random.Random(1)
    predictions = {
        id: p["answer"] if rng.random() < 0.5 else rng.choice([0, "1", 2.0, 9]) for id, p in problems.items()
    }
    told = pd.DataFrame(problems).T
    told["right"] = [int(predictions[id]) == answer for id, answer in told["answer"].items()]
    grade = told["grade"].str.removeprefix("grade").astype(int)
    has = {"TXT": told["hint"] != "", "IMG": told["image"].notna()}
    columns = {
        "Avg": told["right"].notna(),
        "NAT": told["subject"] == "natural science",
        "SOC": told["subject"] == "social science",
        "LAN": told["subject"] == "language science",
        **has,
        "NO": ~has["TXT"] & ~has["IMG"],
        "G1-6": grade <= 6,
        "G7-12": grade > 6,
    }
    expected = {name: (int(told[mask]["right"].sum()), int(mask.sum())) for name, mask in columns.items()}
    assert by(scienceqa(predictions, science), "column") == expected
    assert (has["TXT"] & has["IMG"]).any()  # the columns overlap
    assert scienceqa(dict(list(predictions.items())[:20]), science, "minitest").total.count == 20


def test_scienceqas_bad_input_is_refused(science: Path, tmp_path: Path) -> None:
    whole: dict[str, Any] = {str(n): 0 for n in range(200)}
    with pytest.raises(FedloomError, match=r"no whole number, the index of a choice: 3 \('3', '4', '5'\)"):
        scienceqa(whole | {"3": "B", "4": 1.5, "5": float("inf")}, science)
    with pytest.raises(FedloomError, match=r"without a prediction: 199"):
        scienceqa({"0": 1}, science)
    with pytest.raises(FedloomError, match=r"has no split 'minitset'.*minitest"):
        scienceqa(whole, science, "minitset")
    with pytest.raises(FedloomError, match=r"has no problems\.json.*--data"):
        scienceqa(whole, tmp_path)
    place = scienceqa_folder(tmp_path / "small")
    problems = json.loads((place / "problems.json").read_text())
    right = {id: Said("ABCDE"[problems[id]["answer"]]) for id in ("12", "13", "20")}
    assert scienceqa(right, place).total.accuracy == 1.0
    problems["13"]["answer"] = 9
    (place / "problems.json").write_text(json.dumps(problems))
    with pytest.raises(FedloomError, match=r"broken there: 1 \('13'\)"):
        scienceqa(right, place)
