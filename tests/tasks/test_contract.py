"""What every task must satisfy; each is found by itself."""

import hashlib
import inspect
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fedloom.core import resolve
from fedloom.core.contracts import IMAGE, Data, Sample, Task
from fedloom.core.errors import FedloomError

TASKS = sorted(resolve.known("tasks"))

SMALL: dict[str, dict[str, Any]] = {
    "icons-qa/choose_txt": {"train": 130, "test": 52},
    "icons-qa/choose_img": {"train": 52, "test": 26},
    "icons-qa/fill_in_blank": {"train": 130, "test": 52},
    "icons-classify": {"packs": ["elusive", "typicons"]},
    "icons-memes": {"train": 80, "test": 40},
    "nlvr": {},
}
DIGESTS = {
    "icons-classify": "97b3cb34e5110583406b73f3bbcf83194ab56b5f9f81053afaa575715f5eeb88",
    "icons-memes": "38247eedd81c1b4fd31791d853b920088d132e5d917545a09afdd32ba812d493",
    "icons-qa/choose_img": "c0c2c910cd7ac7907653b74a8290b970a64225a930baa7502d8e41d79ca19d50",
    "icons-qa/choose_txt": "3586a43695ef300d379b115f1579584c86adfc9708f0dd9c05c92e6dca909863",
    "icons-qa/fill_in_blank": "d19bf20e873f2068433d39562eb076796b79539e87794ee9a0943ee36c2030de",
    "nlvr": "9e02cc047f5bfe4adaf1919993033c5b7da8e2198e591417eab89e757cc67f77",
}
"""SHA-256 of the ids and answers of the small data sets, with seed 0."""


def nlvr_folder(folder: Path, train: int = 6, dev: int = 4) -> Path:
    """A small folder in the layout of NLVR."""
    (folder / "images").mkdir(parents=True)
    first = 0
    for half, size in (("train", train), ("dev", dev)):
        records = []
        for n in range(first, first + size):
            name = f"{half}-{n}-0-4.png"
            Image.new("RGBA", (40, 10), (20 * n, 0, 0, 255)).save(folder / "images" / name)
            label = "true" if n % 2 else "false"
            sentence = f"There are {n} yellow boxes."
            records.append(
                {"identifier": f"{n}-0", "sentence": sentence, "label": label, "directory": str(n // 2), "image": name}
            )
        (folder / f"{half}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
        first += size
    return folder


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return nlvr_folder(tmp_path_factory.mktemp("data") / "nlvr")


@cache
def build(name: str, folder: Path) -> tuple[Task, Data]:
    task: Task = resolve.build("tasks", name, SMALL.get(name, {}), path=str(folder), on_bad="refuse", seed=0)
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
def test_every_subset_of_modalities_words_a_prompt(name: str, folder: Path) -> None:
    task, data = build(name, folder)
    assert task.name == name
    for sample in (*data.train, *data.test)[::3]:
        for partial in subsets(sample):
            example = task.word(partial)
            assert example.prompt.count(IMAGE) == len(example.images)
            assert len(example.images) == len(partial.images or ()) + len(sample.choice_images)
            assert example.prompt.endswith("Answer:")
            assert "None" not in example.prompt
            for words in (sample.text, sample.question):
                assert not words or (words in example.prompt) == (words in (partial.text, partial.question))
            assert example.answer == sample.answer
            assert not example.choices or example.answer in example.choices
            for choice in example.choices:
                assert choice in example.caption.format(choice)


@pytest.mark.parametrize("name", TASKS)
def test_gold_answers_score_one_and_wrong_ones_zero(name: str, folder: Path) -> None:
    task, data = build(name, folder)
    for sample in (*data.train, *data.test):
        assert task.score(sample, sample.answer) == 1.0
        assert task.score(sample, f"  {sample.answer.upper()} .") == 1.0
        for wrong in {"", "nonsense", f"{sample.answer} or not", *sample.choices} - {sample.answer}:
            assert task.score(sample, wrong) == 0.0


@pytest.mark.parametrize("name", TASKS)
def test_ids_are_unique_and_halves_share_no_example(name: str, folder: Path) -> None:
    _, data = build(name, folder)
    ids = [sample.id for sample in (*data.train, *data.test)]
    assert len(set(ids)) == len(ids)
    assert data.train
    assert data.test
    assert not {_content(s) for s in data.train} & {_content(s) for s in data.test}


def _content(sample: Sample) -> tuple[Any, ...]:
    pictures = [p.read_bytes() if isinstance(p, Path) else p.tobytes() for p in sample.images or ()]
    choices = [p.tobytes() for p in sample.choice_images if isinstance(p, Image.Image)]
    return sample.text, sample.question, tuple(pictures), tuple(choices), sample.choices if not choices else ()


@pytest.mark.parametrize("name", TASKS)
def test_meta_is_text_and_holds_the_label(name: str, folder: Path) -> None:
    task, data = build(name, folder)
    assert task.metric == "accuracy"
    for sample in (*data.train, *data.test):
        assert sample.meta["label"] == sample.answer
        assert all(isinstance(value, str) for value in sample.meta.values())


@pytest.mark.parametrize("name", TASKS)
def test_the_same_seed_gives_the_same_data_everywhere(name: str, folder: Path) -> None:
    _, data = build(name, folder)
    lines = "\n".join(f"{sample.id}\t{sample.answer}" for sample in (*data.train, *data.test))
    assert hashlib.sha256(lines.encode()).hexdigest() == DIGESTS[name]


@pytest.mark.parametrize("name", [name for name in TASKS if name.startswith("icons")])
def test_another_seed_gives_other_pictures(name: str, folder: Path) -> None:
    _, data = build(name, folder)
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
