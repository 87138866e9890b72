"""What every task must satisfy; each is found by itself."""

import hashlib
import inspect
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from fedloom.core import resolve
from fedloom.core.contracts import IMAGE, Data, Sample, Task
from fedloom.core.errors import FedloomError
from tests.tasks.folders import FOLDERS, nlvr_folder

__all__ = ["nlvr_folder"]

TASKS = sorted(resolve.known("tasks"))

SMALL: dict[str, dict[str, Any]] = {
    "icons-qa/choose_txt": {"train": 130, "test": 52},
    "icons-qa/choose_img": {"train": 52, "test": 26},
    "icons-qa/fill_in_blank": {"train": 130, "test": 52},
    "icons-classify": {"packs": ["elusive", "typicons"]},
    "icons-memes": {"train": 80, "test": 40},
    "icons-reports": {"train": 84, "test": 42},
}
DIGESTS = {
    "icons-classify": "97b3cb34e5110583406b73f3bbcf83194ab56b5f9f81053afaa575715f5eeb88",
    "icons-memes": "38247eedd81c1b4fd31791d853b920088d132e5d917545a09afdd32ba812d493",
    "icons-reports": "cd7b75e35f099c517f435f1f58b8f2c05d92a7d6253dd7b0437324dcb4f049cd",
    "icons-qa/choose_img": "c0c2c910cd7ac7907653b74a8290b970a64225a930baa7502d8e41d79ca19d50",
    "icons-qa/choose_txt": "3586a43695ef300d379b115f1579584c86adfc9708f0dd9c05c92e6dca909863",
    "icons-qa/fill_in_blank": "d19bf20e873f2068433d39562eb076796b79539e87794ee9a0943ee36c2030de",
    "iconqa/choose_img": "ac5d29bf5d97f5cba28c799e759e984fd9e8f3546ffbc38ac4ff63dd6ecad681",
    "iconqa/choose_txt": "4ff59b1bf21a2a49e8256282d4d0791b9b33ac5e4d454c5dde4c2ae27eb21505",
    "iconqa/fill_in_blank": "e7b4794996283ab554d5aebb38a450e8fcda01050b568b845236134d1ddac40e",
    "image-dataset": "8580a104bc0a788c86b774c1938ce594317dc7bf8ef94d8f4856697df065583b",
    "icon645": "686b844779fc068693e6c7700048c757afc6bc0b24cbc8a6594942ffc2354e01",
    "image-folder": "686b844779fc068693e6c7700048c757afc6bc0b24cbc8a6594942ffc2354e01",
    "nlvr": "9e02cc047f5bfe4adaf1919993033c5b7da8e2198e591417eab89e757cc67f77",
    "scienceqa": "aa7710e08407c0dfc4e4a651cb4540ff77b4eba63f751d5a61a2ad26536f11a1",
    "crisismmd": "f3eca2b6ff2228c344d46e543a04ee4810d2aa0f48d9d42484ebc25fd22e6a64",
    "hateful-memes": "bc02348630d05602750634ede0ee784af1565df5ab17cfd09db4649a635e8aa9",
    "medical": "f3c0aa7324e5961df65ad6084bf1f6ba6616e3f1e921ad98ec2c7a57006b197e",
    "medical-flashcards": "28f11b7816167f1704f8aed89799157c6ebc32d3737d7248cf031978f58007ad",
    "slake": "3141264ea3465c89f4acd39b51a3ac6377168dde3e2d11ddd8273854d771984a",
    "vqa-rad": "8aa5a0d1d57d37a09c278beae0eadbea79c790fc20b35b26c6ab5ed4099141d9",
}
"""SHA-256 of the ids and answers of the small data sets, with seed 0."""


def reads(name: str) -> bool:
    """Whether a task reads a folder."""
    return "path" in inspect.signature(resolve.builder("tasks", name)).parameters


READING = [name for name in TASKS if reads(name)]
SHOWING = [name for name in READING if not name.startswith("medical") and name != "image-dataset"]
"""Those whose halves are one file of pictures each, which are the folder's own."""
FIGURES = {"hateful-memes": "AUC", "crisismmd": "macro-F1"} | dict.fromkeys(
    ("vqa-rad", "slake", "medical-flashcards", "medical"), "exact match"
)
"""What a task's figure is called where it is not accuracy."""


@cache
def folder_of(name: str, place: Path) -> Path:
    """The small folder of a task that reads one, made once."""
    return FOLDERS[name](place / name.replace("/", "-")) if reads(name) else place


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@cache
def build(name: str, place: Path) -> tuple[Task, Data]:
    path = str(folder_of(name, place))
    task: Task = resolve.build("tasks", name, SMALL.get(name, {}), path=path, on_bad="refuse", seed=0)
    return task, task.load()


def subsets(sample: Sample) -> Iterator[Sample]:
    """The sample with every subset of its modalities."""
    for images, text, question in product((True, False), repeat=3):
        yield replace(
            sample,
            images=sample.images if images else None,
            text=sample.text if text else None,
            question=sample.question if question else None,
        )


@pytest.mark.parametrize("name", TASKS)
def test_every_subset_of_modalities_words_a_prompt(name: str, place: Path) -> None:
    task, data = build(name, place)
    assert task.name == name
    for sample in (*data.train, *data.test)[::3]:
        for partial in subsets(sample):
            example = task.word(partial)
            assert example.prompt.count(IMAGE) == len(example.images)
            assert len(example.images) == len(partial.images or ()) + len(sample.choice_images)
            assert example.prompt.endswith("Answer:")
            assert "None" not in example.prompt
            assert not sample.text or (sample.text in example.prompt) == (sample.text == partial.text)
            if sample.question and (partial.question is None or partial == sample):  # it may name what is there
                assert (sample.question in example.prompt) == (partial.question is not None)
            assert example.answer == sample.answer
            assert not example.choices or example.answer in example.choices
            for choice in example.choices:
                assert choice in example.caption.format(choice)


@pytest.mark.parametrize("name", TASKS)
def test_gold_answers_score_one_and_wrong_ones_zero(name: str, place: Path) -> None:
    task, data = build(name, place)
    every = (*data.train, *data.test)
    for sample in every[:: max(1, len(every) // 200)]:  # some tasks have thousands, of a hundred choices each
        assert task.score(sample, sample.answer) == 1.0
        assert task.score(sample, f"  {sample.answer.upper()} .") == 1.0
        others = sample.choices[:: max(1, len(sample.choices) // 20)]
        for wrong in {"", "nonsense", f"{sample.answer} or not", *others} - {sample.answer}:
            assert task.score(sample, wrong) == 0.0


@pytest.mark.parametrize("name", TASKS)
def test_ids_are_unique_and_halves_share_no_example(name: str, place: Path) -> None:
    _, data = build(name, place)
    ids = [sample.id for sample in (*data.train, *data.test)]
    assert len(set(ids)) == len(ids)
    assert data.train
    assert data.test
    assert not {_content(s) for s in data.train} & {_content(s) for s in data.test}


def _content(sample: Sample) -> tuple[Any, ...]:
    pictures = [p.read_bytes() if isinstance(p, Path) else p.tobytes() for p in sample.images or ()]
    choices = [p.read_bytes() if isinstance(p, Path) else p.tobytes() for p in sample.choice_images]
    return sample.text, sample.question, tuple(pictures), tuple(choices), sample.choices if not choices else ()


@pytest.mark.parametrize("name", TASKS)
def test_meta_is_text_and_holds_the_label(name: str, place: Path) -> None:
    task, data = build(name, place)
    assert task.metric == FIGURES.get(name, "accuracy")
    for sample in (*data.train, *data.test):
        assert sample.meta["label"] == sample.answer
        assert all(isinstance(value, str) for value in sample.meta.values())


@pytest.mark.parametrize("name", TASKS)
def test_the_same_seed_gives_the_same_data_everywhere(name: str, place: Path) -> None:
    _, data = build(name, place)
    lines = "\n".join(f"{sample.id}\t{sample.answer}" for sample in (*data.train, *data.test))
    assert hashlib.sha256(lines.encode()).hexdigest() == DIGESTS[name]


@pytest.mark.parametrize("name", [name for name in TASKS if name.startswith("icons")])
def test_another_seed_gives_other_pictures(name: str, place: Path) -> None:
    _, data = build(name, place)
    other = resolve.build("tasks", name, SMALL[name], seed=1).load()
    assert {_content(s) for s in data.train} != {_content(s) for s in other.train}


@pytest.mark.parametrize("name", [name for name in TASKS if name.startswith("icons")])
def test_unknown_packs_are_refused_with_the_nearest(name: str) -> None:
    with pytest.raises(FedloomError, match=r"'lucid'.*'lucide'"):
        resolve.build("tasks", name, {"packs": ["lucid"]})
    with pytest.raises(FedloomError, match="one or more different"):
        resolve.build("tasks", name, {"packs": []})


@pytest.mark.parametrize("name", TASKS)
def test_the_builder_tells_what_the_task_is(name: str) -> None:
    assert 20 < len(resolve.summary("tasks", name)) < 130
    assert os.linesep not in resolve.summary("tasks", name)
    assert inspect.signature(resolve.builder("tasks", name)).return_annotation is Task


def read(name: str, folder: Path | str, on_bad: str = "refuse") -> Data:
    task: Task = resolve.build("tasks", name, {}, path=str(folder), on_bad=on_bad)
    return task.load()


@pytest.mark.parametrize("name", READING)
def test_a_task_that_reads_a_folder_says_which_and_how_to_give_it(name: str, tmp_path: Path) -> None:
    with pytest.raises(FedloomError, match=rf"'{name}' reads a folder \(.+\): pass --data FOLDER"):
        read(name, "")
    with pytest.raises(FedloomError, match=rf"{tmp_path}: has no .+\. Expected a folder .+: pass --data FOLDER"):
        read(name, tmp_path)


@pytest.mark.parametrize("half", ["train", "test"])
@pytest.mark.parametrize("name", SHOWING)
def test_a_broken_record_is_named_with_the_mend_and_may_be_skipped(
    name: str, half: str, place: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(folder_of(name, place), tmp_path / "copy")
    whole = getattr(read(name, folder), half)
    (picture,) = whole[1].images or ()
    assert isinstance(picture, Path)
    picture.write_bytes(picture.read_bytes()[:40])
    with pytest.raises(FedloomError) as caught:
        read(name, folder)
    assert str(picture) in str(caught.value)
    assert "data.on_bad=skip" in str(caught.value)
    with pytest.warns(UserWarning, match=rf"1 of {len(whole)} records skipped; the first: .+{picture.name}"):
        left = getattr(read(name, folder, "skip"), half)
    assert [sample.id for sample in left] == [sample.id for sample in whole if sample.id != whole[1].id]


@pytest.mark.parametrize("name", READING)
def test_pictures_of_a_folder_stay_on_disk(name: str, place: Path) -> None:
    _, data = build(name, place)
    for sample in (*data.train, *data.test):
        assert all(isinstance(picture, Path) for picture in (*(sample.images or ()), *sample.choice_images))
