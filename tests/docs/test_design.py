"""What docs/design.md shows runs, and what it lists is there."""

import json
import re
import tomllib
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from fedloom.core import config, lora, tree
from fedloom.core.contracts import Backbone, Choices
from fedloom.core.resolve import builder
from fedloom.core.seeds import Seeds
from fedloom.engines import run

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page's files as a user would have saved them, in a folder from which Python imports."""
    for language, code in BLOCKS:
        if language == "python":
            name = re.match(r"# (\S+\.py)\n", code)
            assert name is not None, code
            file = tmp_path / name[1]
            file.parent.mkdir(exist_ok=True)
            file.write_text(code)
    (toml,) = (code for language, code in BLOCKS if language == "toml")
    (tmp_path / "mine.toml").write_text(toml)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_own_method_task_and_scenario_make_an_experiment(mine: Path, tiny: Callable[[str], Path]) -> None:
    experiment = config.load(mine / "mine.toml", [f"model.name={tiny('llava')}", "adapter.rank=2", "engine.threads=1"])
    result = run(experiment, mine / "run")
    assert [entry["examples"] for entry in result["per_client"]] == [5, 4, 3]  # of 12: 4.8, 3.6 and 3.6, made whole
    assert result["left_out"] == []
    assert result["metric"] == "accuracy"

    folder = mine / "run" / "checkpoint"
    before, after = (load_file(folder / f"round-00000{number}.safetensors") for number in (1, 2))
    names = [name for name in before if lora.is_pair(name)]
    assert all(torch.equal(before[name], after[name]) == name.endswith(lora.A) for name in names)


def test_the_run_folder_holds_what_the_page_lists(mine: Path, tiny: Callable[[str], Path]) -> None:
    sets = [f"model.name={tiny('llava')}", "adapter.rank=2", "engine.threads=1", "method=local"]
    run(config.load(mine / "mine.toml", sets), mine / "run")
    table = TEXT.split("## What a run leaves behind")[1].split("\n##")[0]
    rows = [line.split("|")[1:3] for line in table.splitlines() if line.startswith("| `")]
    listed = {re.sub("<client>", "[^/]+", name) for row in rows for name in re.findall(r"`([^`]+)`", row[0])}
    inside = {name for row in rows if row[0].strip() == "`adapter/`" for name in re.findall(r"`([^`]+\.\w+)`", row[1])}
    assert len(inside) == 3
    patterns = [re.sub(r"\d{6}", r"\\d{6}", name) for name in listed if not name.endswith("/")]
    patterns += [folder + name for folder in listed if folder.endswith("/") for name in inside]
    found = {str(file.relative_to(mine / "run")) for file in (mine / "run").rglob("*") if file.is_file()}
    assert {name for name in found if not any(re.fullmatch(pattern, name) for pattern in patterns)} == set()
    missing = {pattern for pattern in patterns if not any(re.fullmatch(pattern, name) for name in found)}
    assert missing == {"report.html"}  # the command draws it


def test_own_adapter_objective_and_modality_make_an_experiment(mine: Path, tiny: Callable[[str], Path]) -> None:
    parts = ["adapter.kind=mine.gate:gate", "objective=mine.smooth:smooth", "modality=mine.first_half:first_half"]
    sets = [
        f"model.name={tiny('clip')}",
        "model.absent=learned",
        "method=fedavg",
        "rounds=1",
        "engine.threads=1",
        *parts,
    ]
    result = run(config.load(mine / "mine.toml", sets), mine / "run")
    assert result["left_out"] == []

    after = load_file(mine / "run" / "checkpoint" / "round-000001.safetensors")
    learned = {name: value for name, value in after.items() if name.endswith(("gate", "absent.image"))}
    assert len(learned) == 2
    assert all((value != 1).any() for value in learned.values())
    held = json.loads((mine / "run" / "partition.json").read_text())
    assert "image" in json.dumps(held)


def test_own_objective_smooths_its_target(mine: Path) -> None:
    class Two:
        def choices(self) -> Choices:
            return Choices(torch.tensor([[2.0, 0.0, -torch.inf], [0.0, 0.0, 0.0]]), torch.tensor([0, 2]))

    found = import_module("mine.smooth").smooth(0.3).loss(Two())
    wrong = np.log(1 + np.exp(-2.0)), np.log(1 + np.exp(2.0))  # -log softmax of 2 and of 0 among both
    np.testing.assert_allclose(found, [0.7 * wrong[0] + 0.3 * sum(wrong) / 2, np.log(3)], rtol=1e-6)


def test_own_scenario_gives_the_first_client_its_share(mine: Path) -> None:
    rows = import_module("mine.hub").hub(0.4).proportions(np.array([7, 3]), 4, Seeds(0).numpy("test"))
    np.testing.assert_allclose(rows, [[0.4, 0.2, 0.2, 0.2]] * 2)


def test_own_task_words_a_sample_whose_picture_is_missing(mine: Path) -> None:
    task = builder("tasks", "mine.colours:colours")(train=3, test=3)
    data = task.load()
    assert [sample.answer for sample in data.train] == ["red", "green", "blue"]
    assert task.word(data.train[0]).prompt == "<image>\nWhich colour? Answer:"
    assert task.word(replace(data.train[0], images=None)).prompt == "Which colour? Answer:"
    assert task.score(data.train[0], "red") == 1.0


@pytest.mark.parametrize("kind", ["clip", "llava"])
def test_a_checkpoint_is_opened(mine: Path, tiny: Callable[[str], Path], kind: str) -> None:
    backbone = import_module("mine.opened").opened(str(tiny(kind)))
    assert isinstance(backbone, Backbone)
    adapter = backbone.read()
    assert {name.split(".")[-3] for name in adapter} == {"q_proj", "v_proj"}
    backbone.write(adapter)
    assert tree.fingerprint(backbone.read()) == tree.fingerprint(adapter)


def test_every_room_and_dependency_is_named() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [name for names in project["optional-dependencies"].values() for name in names]
    wanted = {re.match(r"[\w-]+", text)[0] for text in [*project["dependencies"], *extras]}  # type: ignore[index]
    table = TEXT.split("## Dependencies")[1]
    named = {
        name
        for line in table.splitlines()
        if line.startswith("| ")
        for name in re.findall(r"[\w-]+", line.split("|")[1])
    }
    assert {name for name in wanted - {"fedloom"} if not name.startswith("types-")} - named == set()
    rooms = {path.parent.name for path in (ROOT / "src" / "fedloom").glob("*/__init__.py")}
    assert {room for room in rooms if f"{room}/" not in TEXT} == set()


def test_files_that_the_page_names_are_there() -> None:
    named = re.findall(r"`((?:core|models|tasks|federation|engines|methods)/\w[\w/]*\.py)`", TEXT)
    assert named
    assert [name for name in named if not (ROOT / "src" / "fedloom" / name).exists()] == []
