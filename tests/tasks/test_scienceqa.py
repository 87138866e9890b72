"""scienceqa: the authors' layout is read as it is, the answer is a letter, and what is broken is named."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedloom.core import config, partition, resolve
from fedloom.core.contracts import Data, Task
from fedloom.core.errors import FedloomError
from fedloom.core.seeds import Seeds
from fedloom.federation.check import check_experiment
from tests.tasks.folders import scienceqa_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return scienceqa_folder(tmp_path / "scienceqa")


def load(folder: Path, on_bad: str = "refuse", **options: Any) -> Data:
    task: Task = resolve.build("tasks", "scienceqa", options, path=str(folder), on_bad=on_bad)
    return task.load()


def change(folder: Path, name: str, how: Callable[[dict[str, Any]], Any]) -> None:
    """Read a file's JSON, change it, and write it again."""
    record = json.loads((folder / name).read_text())
    how(record)
    (folder / name).write_text(json.dumps(record))


def test_reads_the_layout(folder: Path) -> None:
    data = load(folder)
    assert [sample.id for sample in data.train] == ["1", "2", "4", "7"]
    assert [sample.id for sample in data.test] == ["13", "20"]
    second = data.train[1]
    assert second.images == (folder / "images" / "train" / "2" / "image.png",)
    assert second.text == "Moss is green.\nIt likes shade."
    assert (second.choices, second.answer) == (("A", "B", "C", "D"), "C")
    assert second.meta == {
        "subject": "natural science",
        "topic": "biology",
        "category": "Biology",
        "skill": "Weigh a bag: biology",
        "grade": "grade8",
        "task": "closed choice",
        "grades": "7-12",
        "context": "text+image",
        "label": "C",
    }


def test_words_the_choices_with_the_question_and_answers_by_letter(folder: Path) -> None:
    task: Task = resolve.build("tasks", "scienceqa", {}, path=str(folder), on_bad="refuse")
    example = task.word(load(folder).test[1])
    assert example.prompt == (
        "<image>\nContext: North is up. Question: How much does bag 20 weigh? "
        "Choices: (A) It weighs 2 stones. (B) It weighs 3 stones. Answer:"
    )
    assert (example.choices, example.answer) == (("A", "B"), "A")
    assert example.captions == ("It weighs 2 stones.", "It weighs 3 stones.")
    scores = {answer: task.score(load(folder).test[1], answer) for answer in ("A", "a.", "B", "It weighs 2 stones.")}
    assert scores == {"A": 1, "a.": 1, "B": 0, "It weighs 2 stones.": 0}


def test_questions_without_a_picture_and_hints_are_options(folder: Path) -> None:
    data = load(folder, with_image=False, hint=False)
    assert [sample.id for sample in data.train] == ["1", "2", "3", "4", "7"]
    assert {sample.text for sample in (*data.train, *data.test)} == {None}
    assert {sample.id: sample.meta["context"] for sample in (*data.train, *data.test)} == {
        "1": "image",
        "2": "text+image",
        "3": "text",
        "4": "image",
        "7": "image",
        "12": "none",
        "13": "image",
        "20": "text+image",
    }
    assert next(sample for sample in data.train if sample.id == "3").images is None


def test_splits_can_be_chosen_and_a_small_ones_pictures_lie_with_the_large_ones(folder: Path) -> None:
    data = load(folder, train_split="minitrain", test_split="val")
    assert [sample.id for sample in data.train] == ["2", "4"]
    assert data.train[0].images == (folder / "images" / "train" / "2" / "image.png",)
    assert [sample.id for sample in data.test] == ["10"]
    with pytest.raises(FedloomError, match=r"has no split 'minitest1'\. Did you mean 'minitest'"):
        load(folder, test_split="minitest1")
    with pytest.raises(FedloomError, match=r"2 records stand in both halves \(2, 4\)\. Choose other splits"):
        load(folder, test_split="minitrain")


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "no question": ({"question": "  "}, "field 'question' is '  '"),
    "one choice": ({"choices": ["alone"]}, "field 'choices' is ['alone']; expected 2 to 5 texts"),
    "six choices": ({"choices": list("abcdef")}, "expected 2 to 5 texts"),
    "an empty choice": ({"choices": ["one", ""]}, "choice 1 is ''; expected text"),
    "an answer beyond the choices": ({"answer": 4}, "field 'answer' is 4; expected a number from 0 to 3"),
    "an answer below": ({"answer": -1}, "field 'answer' is -1"),
    "an answer that is a letter": ({"answer": "A"}, "field 'answer' is 'A'"),
    "an answer that is true": ({"answer": True}, "field 'answer' is True"),
    "a hint that is a number": ({"hint": 7}, "field 'hint' is 7"),
    "a picture elsewhere": ({"image": "../1/image.png"}, "expected the name of a file"),
    "a split elsewhere": ({"split": ".."}, "not '..'"),
    "a missing picture": ({"image": "choice.png"}, "choice.png cannot be opened"),
    "a picture's mark in a text": ({"question": "What is <image>?"}, "holds '<image>'"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_question_is_named(what: str, folder: Path) -> None:
    fields, problem = BROKEN[what]
    change(folder, "problems.json", lambda problems: problems["2"].update(fields))
    with pytest.raises(FedloomError) as caught:
        load(folder)
    assert f"{folder / 'problems.json'}, question 2: " in str(caught.value)
    assert problem in str(caught.value)
    with pytest.warns(UserWarning, match="1 of 4 records skipped"):
        assert [sample.id for sample in load(folder, "skip").train] == ["1", "4", "7"]


def test_a_question_that_is_not_there_or_stands_twice_is_named(folder: Path) -> None:
    change(folder, "pid_splits.json", lambda splits: splits["train"].extend(["99", "4"]))
    with pytest.raises(FedloomError, match=r"question 99: pid_splits\.json names it, but it is None"):
        load(folder)
    with pytest.warns(UserWarning, match="2 of 6 records skipped"):
        assert len(load(folder, "skip").train) == 4


def test_fields_that_only_describe_may_be_missing(folder: Path) -> None:
    change(folder, "problems.json", lambda problems: [problems["2"].pop(field) for field in ("topic", "grade", "hint")])
    sample = load(folder).train[1]
    assert (sample.meta["topic"], sample.meta["grade"], sample.meta["grades"]) == ("unknown", "unknown", "unknown")
    assert (sample.text, sample.meta["context"]) == (None, "image")


@pytest.mark.parametrize(
    ("text", "problem"),
    [("{", "not valid JSON"), ("[]", "expected a JSON object of"), ('{"train": 3}', "is '3'; expected")],
)
def test_a_broken_file_is_refused_even_where_records_are_skipped(text: str, problem: str, folder: Path) -> None:
    (folder / "pid_splits.json").write_text(text)
    with pytest.raises(FedloomError, match=rf"pid_splits\.json: .*{problem}"):
        load(folder, "skip")


def test_a_split_without_pictures_is_refused(folder: Path) -> None:
    change(folder, "pid_splits.json", lambda splits: splits.update(test=["12"]))
    with pytest.raises(FedloomError, match=r"no usable record\. Expected questions of split 'test' with a picture"):
        load(folder)


def test_the_preset_deals_it_by_topic(folder: Path) -> None:
    experiment = config.load("fednano-7b", [f"data.path={folder}"])
    check_experiment(experiment)
    data = config.build(experiment, "task").load()
    metas = [[sample.meta for sample in half] for half in (data.train, data.test)]
    dealt = partition.deal(config.build(experiment, "scenario"), *metas, clients=2, minimum=2, seeds=Seeds(0))
    assert sorted(index for mine in dealt.train for index in mine) == [0, 1, 2, 3]
