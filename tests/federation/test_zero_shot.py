"""Zero-shot answers that runs have in common: a hit has the bits of a miss, and nothing else is ever taken."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from fedloom import engines
from fedloom.core import config, lora
from fedloom.core.config import Experiment
from fedloom.core.contracts import Example
from fedloom.federation import answers, zero_shot
from fedloom.federation.setup import Setup
from tests.federation import toy

SMALL = """
name = "small"
rounds = 1
[model]
name = "nano-vlm"
[adapter]
rank = 2
[task]
name = "{task}"
train = 8
test = 8
[scenario]
name = "iid"
clients = 2
[engine]
threads = 1
"""


@pytest.fixture(autouse=True)
def _toy() -> None:
    """The real models, where this room's tests have the toy."""


@pytest.fixture
def small(tmp_path: Path) -> Callable[..., Experiment]:
    """The small experiment with overrides, on nano-vlm."""

    def make(*sets: str, task: str = "icons-qa/choose_txt") -> Experiment:
        file = tmp_path / "small.toml"
        file.write_text(SMALL.format(task=task))
        return config.load(file, sets)

    return make


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many examples each call of a model was asked."""
    counts: list[int] = []
    of_model = answers.of_model

    def counted(setup: Setup, samples: Any, examples: Any) -> Any:
        counts.append(len(examples))
        return of_model(setup, samples, examples)

    monkeypatch.setattr(answers, "of_model", counted)
    return counts


def before(folder: Path) -> str:
    return (folder / "before.json").read_text()


@pytest.mark.parametrize("task", ["icons-qa/choose_txt", "icons-memes"])
def test_a_hit_has_the_bits_of_a_miss(
    small: Callable[..., Experiment], asked: list[int], tmp_path: Path, task: str
) -> None:
    kept = tmp_path / "kept"
    engines.run(small(task=task), tmp_path / "alone")
    engines.run(small(task=task), tmp_path / "first", answered=kept)
    assert asked == [8] * 4  # each of the two before and after its round
    assert len(list(kept.iterdir())) == 1
    sets = ("seed=3", "method=scaffold", "client.lr=0.01", "adapter.rank=4", "scenario.clients=3")
    engines.run(small(*sets, task=task), tmp_path / "other", answered=kept)
    engines.run(small(*sets, task=task), tmp_path / "other alone")
    assert asked == [8] * 4 + [8] + [8] * 2  # the first of them only after its round
    assert before(tmp_path / "first") == before(tmp_path / "alone")
    assert before(tmp_path / "other") == before(tmp_path / "other alone")
    assert len(list(kept.iterdir())) == 1
    for name in ("after.json", "rounds.jsonl"):
        ours, alone = ((tmp_path / run / name).read_text() for run in ("other", "other alone"))
        assert strip(ours) == strip(alone)


def strip(text: str) -> list[dict[str, Any]]:
    """JSON lines, or one JSON, without seconds."""
    found = [json.loads(text)] if text.startswith("{\n") else [json.loads(line) for line in text.splitlines()]
    return [{key: value for key, value in one.items() if key != "seconds"} for one in found]


@pytest.mark.parametrize(
    "sets",
    [
        ("model.normalise=true",),
        ("model.max_new_tokens=3",),
        ("model.dtype=bfloat16",),
        ("evaluation.batch_size=2",),
        ("evaluation.limit=4",),
        ("evaluation.on=validation",),
        ("adapter.where=['language']",),
        ("adapter.init=svd",),
        ("task.test=5",),
        ("modality=missing", "modality.test_rate=1.0", "modality.what=image"),
    ],
)
def test_what_decides_answers_has_a_name_of_its_own(small: Callable[..., Experiment], sets: tuple[str, ...]) -> None:
    assert hashed(small(*sets)) != hashed(small())


def test_what_decides_no_answer_has_none(small: Callable[..., Experiment]) -> None:
    others = ("seed=5", "rounds=3", "method=fedprox", "adapter.rank=3", "adapter.alpha=8.0", "client.epochs=2")
    assert hashed(small(*others)) == hashed(small())


def hashed(experiment: Experiment) -> str:
    setup = Setup(experiment)
    return json.dumps(zero_shot.what_decides(setup, setup.worded(setup.data.test)), sort_keys=True)


@pytest.mark.parametrize("damage", ["answers", "decides", "short", "no json", "more"])
def test_what_is_not_as_it_was_written_is_answered_again(
    small: Callable[..., Experiment], asked: list[int], tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    kept = tmp_path / "kept"
    engines.run(small(), tmp_path / "first", answered=kept)
    (file,) = kept.iterdir()
    whole = file.read_text()
    held = json.loads(whole)
    if damage == "answers":
        held["answers"][0] = "another"
    elif damage == "decides":
        held["decides"]["batch_size"] = 7
    elif damage == "short":
        held["answers"].pop()
    elif damage == "more":
        held["further"] = 1
    file.write_text("{" if damage == "no json" else json.dumps(held))
    engines.run(small("seed=1"), tmp_path / "second", answered=kept)
    assert asked == [8] * 4
    assert "answered again" in caplog.text
    assert file.read_text() == whole
    assert before(tmp_path / "second") == before(tmp_path / "first")


def test_a_folder_that_cannot_be_written_costs_no_run(
    small: Callable[..., Experiment], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "kept").write_text("a file")
    result = engines.run(small(), tmp_path / "run", answered=tmp_path / "kept")
    assert result["rounds"] == 1
    assert "zero-shot answers are not kept" in caplog.text


class TestWhereItCouldBeWrong:
    @pytest.fixture(autouse=True)
    def _toy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        toy.use(monkeypatch)

    def test_a_model_that_tells_no_hash_of_its_parts_is_asked(self, tmp_path: Path) -> None:
        engines.run(toy.experiment(), tmp_path / "run", answered=tmp_path / "kept")
        assert not (tmp_path / "kept").exists()

    def test_clients_that_answer_are_asked(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(zero_shot, "can_be_kept", lambda setup: True)
        engines.run(toy.experiment("evaluation.where=clients"), tmp_path / "run", answered=tmp_path / "kept")
        assert not (tmp_path / "kept").exists()

    def test_a_model_that_is_elsewhere_is_asked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(toy.Toy, "identity", {"weights": "w"}, raising=False)
        assert zero_shot.can_be_kept(Setup(toy.experiment()))
        setup = Setup(toy.experiment())
        setup.begun.update({toy.A: torch.ones(1)})
        assert not zero_shot.can_be_kept(setup)
        split = toy.experiment().split.model_copy(update={"wire": "full"})
        assert not zero_shot.can_be_kept(Setup(toy.experiment().model_copy(update={"split": split})))


def test_a_start_is_zero_in_effect_where_every_b_is_zero() -> None:
    a, b = torch.ones(2, 4), torch.zeros(3, 2)
    pair = {"m" + lora.A: a, "m" + lora.B: b}
    assert zero_shot.zero_in_effect(pair)
    assert not zero_shot.zero_in_effect(pair | {"m" + lora.B: b + 1e-30})
    assert not zero_shot.zero_in_effect(pair | {"m" + lora.R: torch.zeros(2, 2)})
    assert not zero_shot.zero_in_effect({})


def test_examples_differ_where_any_word_or_pixel_does() -> None:
    picture, other = Image.new("RGB", (2, 2), "white"), Image.new("RGB", (2, 2), "white")
    other.putpixel((1, 1), (255, 255, 254))
    one = Example("a", (picture,), "<image> which?", ("x", "y"), "x")
    changed = [
        replace(one, id="b"),
        replace(one, images=(other,)),
        replace(one, images=()),
        replace(one, prompt="<image> which"),
        replace(one, choices=("y", "x")),
        replace(one, caption="a {}"),
        replace(one, captions=("p", "q")),
        replace(one, answer="y"),
        replace(one, rejected="y"),
        replace(one, ensemble=("one {}",)),
    ]
    known = {zero_shot.of_examples([each]) for each in [one, *changed]}
    assert len(known) == 1 + len(changed)
    assert zero_shot.of_examples([one]) == zero_shot.of_examples([replace(one, images=(picture.copy(),))])
    assert zero_shot.of_examples([one, changed[0]]) != zero_shot.of_examples([changed[0], one])
