"""A ScienceQA folder where 12 of 16 questions have no picture, and adapters that only pictures reach."""

import json
from pathlib import Path
from typing import Any

import pytest

from fedloom import engines
from fedloom.core import config
from tests.tasks.folders import paint

TOML = """
rounds = 1
[model]
name = "nano-vlm"
[task]
name = "scienceqa"
with_image = false
[data]
path = "{folder}"
[adapter]
rank = 2
modules = ["q", "v", "mlp"]
[scenario]
name = "iid"
clients = 2
[client]
batch_size = 2
[engine]
threads = 1
[evaluation]
limit = 1
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 questions to train on and two to test."""
    made = tmp_path_factory.mktemp("scienceqa")
    problems: dict[str, Any] = {}
    splits: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for number in range(1, 19):
        id, split = str(number), "train" if number <= 16 else "test"
        shown = number % 4 == 0
        problems[id] = {
            "question": f"How much is {number}?",
            "choices": ["one", "two"],
            "answer": number % 2,
            "hint": "",
            "image": "image.png" if shown else None,
            "task": "closed choice",
            "grade": "grade4",
            "subject": "natural science",
            "topic": "physics",
            "category": "Physics",
            "skill": "Weigh",
            "lecture": "",
            "solution": "",
            "split": split,
        }
        splits[split].append(id)
        if shown:
            paint(made / "images" / split / id / "image.png", number)
    (made / "images").mkdir(exist_ok=True)
    (made / "problems.json").write_text(json.dumps(problems))
    (made / "pid_splits.json").write_text(json.dumps(splits | {"minitrain": [], "minitest": []}))
    return made


@pytest.mark.parametrize(
    "sets",
    [
        ['adapter.where=["connector"]'],
        ['adapter.where=["vision"]', "method=fednano"],
        ['adapter.where=["connector"]', "method=ditto"],
        ["adapter.kind=nano", 'adapter.where=["connector"]', "method=fednano"],
        ["adapter.kind=nano", 'adapter.where=["connector"]', "split.wire=full"],
        ["adapter.kind=nano", 'adapter.where=["connector"]', "split.wire=low-rank", "method=fednano-ef"],
        ["adapter.kind=nano", 'adapter.where=["connector"]', "split.wire=low-rank", "split.labels=private"],
    ],
    ids=" ".join,
)
def test_every_step_counts(folder: Path, tmp_path: Path, sets: list[str]) -> None:
    source = tmp_path / "here.toml"
    source.write_text(TOML.format(folder=folder))
    result = engines.run(config.load(source, sets), tmp_path / "run")
    assert result["left_out"] == []
    rows = [json.loads(line) for line in (tmp_path / "run" / "clients.jsonl").read_text().splitlines()]
    assert [row["steps"] for row in rows] == [4, 4]
