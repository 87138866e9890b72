"""iconqa: the authors' layout is read as it is, and what is broken is named."""

import json
from pathlib import Path
from typing import Any

import pytest

from fedloom.core import config, partition, resolve
from fedloom.core.contracts import Data, Task
from fedloom.core.errors import FedloomError
from fedloom.core.seeds import Seeds
from fedloom.federation.check import check_experiment
from tests.tasks.folders import iconqa_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return iconqa_folder(tmp_path / "iconqa_data")


def load(folder: Path, kind: str = "choose_txt", on_bad: str = "refuse", **options: Any) -> Data:
    task: Task = resolve.build("tasks", f"iconqa/{kind}", options, path=str(folder), on_bad=on_bad)
    return task.load()


def change(folder: Path, question: str, /, **fields: Any) -> Path:
    """Change fields of a question's ``data.json``; ``None`` takes one away."""
    file = folder / "iconqa" / "train" / question / "data.json"
    record = json.loads(file.read_text()) | fields
    file.write_text(json.dumps({field: value for field, value in record.items() if value is not None}))
    return file


def test_reads_the_layout_in_the_order_of_the_numbers(folder: Path) -> None:
    data = load(folder)
    assert [sample.id for sample in data.train] == ["9", "10", "11", "12", "13"]
    assert [sample.id for sample in data.test] == ["16", "17", "18"]
    first = data.train[0]
    assert first.images == (folder / "iconqa" / "train" / "choose_txt" / "9" / "image.png",)
    assert (first.question, first.text) == ("Row 9 goes on. What follows?", None)
    assert (first.choices, first.answer) == (("kites", "drums", "pears"), "kites")
    assert first.meta == {"grade": "grade1", "lesson": "grade1/K1", "skill": "counting", "label": "kites"}


def test_a_question_that_needs_several_skills_has_them_all(folder: Path) -> None:
    assert load(folder).train[1].meta["skill"] == "counting+geometry"


def test_skills_may_be_absent(folder: Path) -> None:
    (folder / "pid2skills.json").write_text('{"9": ["time"]}')
    assert [sample.meta["skill"] for sample in load(folder).train[:2]] == ["time", "unknown"]
    (folder / "pid2skills.json").unlink()
    assert "skill" not in load(folder).train[0].meta
    (folder / "pid2skills.json").write_text("[]")
    with pytest.raises(FedloomError, match=r"pid2skills\.json: expected a JSON object of lists of skills"):
        load(folder)


def test_pictures_to_choose_from_are_letters(folder: Path) -> None:
    sample = load(folder, "choose_img").train[0]
    place = folder / "iconqa" / "train" / "choose_img" / "19"
    assert sample.choice_images == tuple(place / f"choice_{n}.png" for n in range(5))
    assert (sample.choices, sample.answer) == (("A", "B", "C", "D", "E"), "E")


def test_a_blank_has_no_choices(folder: Path) -> None:
    sample = load(folder, "fill_in_blank").train[0]
    assert (sample.choices, sample.answer) == ((), "29")


def test_answers_may_be_numbers_or_their_text(folder: Path) -> None:
    change(folder, "choose_txt/9", answer="2")
    assert load(folder).train[0].answer == "pears"
    change(folder, "fill_in_blank/29", answer=4)
    assert load(folder, "fill_in_blank").train[0].answer == "4"


def test_splits_can_be_chosen(folder: Path) -> None:
    data = load(folder, train_split="val")
    assert [sample.id for sample in data.train] == ["14", "15"]
    with pytest.raises(FedloomError, match=r"2 records stand in both halves \(14, 15\)\. Choose other splits"):
        load(folder, train_split="val", test_split="val")
    with pytest.raises(FedloomError, match="train_split: Input should be 'train', 'val', 'test', 'trainval'"):
        load(folder, train_split="minitrian")


def test_splits_without_a_folder_are_listed(folder: Path) -> None:
    data = load(folder, train_split="minitrain", test_split="minitest")
    assert [sample.id for sample in data.train] == ["9", "10"]
    assert [sample.id for sample in data.test] == ["16", "17"]
    both = load(folder, train_split="trainval").train
    assert [sample.id for sample in both] == ["9", "10", "11", "12", "13", "14", "15"]
    assert both[-1].images == (folder / "iconqa" / "val" / "choose_txt" / "15" / "image.png",)
    with pytest.raises(FedloomError, match=r"2 records stand in both halves"):
        load(folder, train_split="minitrain", test_split="train")
    file = folder / "pid_splits.json"
    listed = json.loads(file.read_text())
    for content, match in (
        ({}, r"pid_splits\.json: has no list 'choose_txt_minitrain'"),
        ({"choose_txt_minitrain": ["../9"]}, r"holds '\.\./9'; expected a question's id"),
        ({"choose_txt_minitrain": ["9", "9"]}, "'9' has stood there before"),
        ({"choose_txt_minitrain": ["16"]}, r"train/choose_txt/16/data\.json: cannot be read"),
    ):
        file.write_text(json.dumps(listed | content if content else {}))
        with pytest.raises(FedloomError, match=match):
            load(folder, train_split="minitrain")
    file.unlink()
    with pytest.raises(FedloomError, match=r"has no pid_splits\.json"):
        load(folder, train_split="minitrain")


BROKEN: dict[str, tuple[str, dict[str, Any], str]] = {
    "no question": ("choose_txt/10", {"question": None}, "field 'question' is None; expected text"),
    "another kind": ("choose_txt/10", {"ques_type": "choose_img"}, "field 'ques_type' is 'choose_img'"),
    "no choices": ("choose_txt/10", {"choices": None}, "field 'choices' is None; expected 2 to 5 texts"),
    "an answer beyond": ("choose_txt/10", {"answer": 9}, "field 'answer' is 9; expected a number from 0 to 3"),
    "an answer that is a text": ("choose_img/20", {"answer": "kite"}, "field 'answer' is 'kite'"),
    "a choice elsewhere": ("choose_img/20", {"choices": ["../19/choice_0.png", "choice_1.png"]}, "expected the name"),
    "a choice that is missing": ("choose_img/20", {"choices": ["choice_7.png", "choice_1.png"]}, "cannot be opened"),
    "no answer": ("fill_in_blank/30", {"answer": ""}, "field 'answer' is ''; expected text"),
    "an answer that is true": ("fill_in_blank/30", {"answer": True}, "field 'answer' is True; expected text"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_question_is_named(what: str, folder: Path) -> None:
    question, fields, problem = BROKEN[what]
    kind, id = question.split("/")
    change(folder, question, **fields)
    with pytest.raises(FedloomError) as caught:
        load(folder, kind)
    assert f"{folder / 'iconqa'}, train/{kind}/{id}/data.json: " in str(caught.value)
    assert problem in str(caught.value)
    with pytest.warns(UserWarning, match="1 of 5 records skipped"):
        assert id not in [sample.id for sample in load(folder, kind, "skip").train]


@pytest.mark.parametrize(("text", "problem"), [("{", "not valid JSON"), (None, "cannot be read as UTF-8 text")])
def test_a_question_without_data_is_named(text: str | None, problem: str, folder: Path) -> None:
    file = folder / "iconqa" / "train" / "choose_txt" / "11" / "data.json"
    file.unlink()
    if text:
        file.write_text(text)
    with pytest.raises(FedloomError, match=rf"train/choose_txt/11/data\.json: {problem}"):
        load(folder)


def test_the_preset_runs_on_it_as_its_comment_says(folder: Path) -> None:
    told = ["task=iconqa/choose_txt", "scenario.by=skill"]
    assert " ".join(f"--set {override}" for override in told) in (config.PRESETS / "fednano-7b.toml").read_text()
    experiment = config.load("fednano-7b", [*told, f"data.path={folder}"])
    check_experiment(experiment)
    data = config.build(experiment, "task").load()
    metas = [[sample.meta for sample in half] for half in (data.train, data.test)]
    dealt = partition.deal(config.build(experiment, "scenario"), *metas, clients=2, minimum=2, seeds=Seeds(0))
    assert sorted(index for mine in dealt.train for index in mine) == [0, 1, 2, 3, 4]
