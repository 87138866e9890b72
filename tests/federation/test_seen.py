"""The data as whoever holds it sees it: the same for training, both evaluators, the page and the fingerprint."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from fedloom import models
from fedloom.core.contracts import Data, Example, Modality, Sample, Seat, Task
from fedloom.core.errors import FedloomError
from fedloom.federation.baselines import baselines
from fedloom.federation.inputs import inputs, told_of_data
from fedloom.federation.result import who_holds_what
from fedloom.federation.round import Stopped
from fedloom.federation.seen import mix, seen
from fedloom.federation.setup import Setup
from tests.federation import kinds, toy

Run = Callable[..., dict[str, Any]]
HERE = "tests.federation.test_seen"
MEMES = f"task={HERE}:memes"
HALF = ("modality=missing", "modality.rate=0.5", "modality.test_rate=0.5")


def memes() -> Task:
    """The toy's samples with a picture and a text."""
    whole = toy.task()

    def full(sample: Sample) -> Sample:
        return replace(sample, images=(Image.new("RGB", (2, 2), "red"),), text=f"words of {sample.id}")

    def load() -> Data:
        data = whole.load()
        return Data(tuple(map(full, data.train)), tuple(map(full, data.test)))

    def word(sample: Sample) -> Example:
        pictures = sample.images or ()
        return Example(sample.id, pictures, "<image>" * len(pictures) + (sample.text or ""), toy.CHOICES, sample.answer)

    return replace(whole, load=load, word=word)


def pictured() -> Task:
    """A task whose wording does without no picture."""
    return replace(memes(), word=lambda sample: replace(memes().word(sample), images=(sample.images[0],)))  # type: ignore[index]


def shifty() -> Modality:
    """A rule that changes answers."""
    return Modality(lambda sample, seat, rng: replace(sample, answer="no", choices=("no",)))


def broken() -> Modality:
    """A rule that fails."""

    def see(sample: Sample, seat: Seat, rng: np.random.Generator) -> Sample:
        raise KeyError("nothing")

    return Modality(see)


def seated() -> Modality:
    """A rule that writes down the seat."""

    def see(sample: Sample, seat: Seat, rng: np.random.Generator) -> Sample:
        return replace(sample, text=f"{seat.client} {seat.number} {seat.clients} {seat.half}")

    return Modality(see)


GOLDEN_TRAIN = "text image - image image image image - text - image - image text - text - -".replace("-", "").split(" ")
GOLDEN_TEST = "image - text - image image - text image".replace("-", "").split(" ")
TAKEN = {"modality": "image"}


def taking() -> Modality:
    """A user's own rule, whose code may change between two runs: everybody loses what ``TAKEN`` says."""
    if TAKEN["modality"] == "text":
        return Modality(lambda sample, seat, rng: replace(sample, text=None))
    return Modality(lambda sample, seat, rng: replace(sample, images=None))


class Looks(toy.Toy):
    """A toy whose features depend on what it is shown."""

    def collate(self, examples: Sequence[Example]) -> tuple[Tensor, Tensor]:
        wanted = [toy.CHOICES.index(example.answer) for example in examples]
        return torch.stack([toy.features(e.id + e.prompt) for e in examples]), torch.eye(2)[wanted]


def lacking(data: Data) -> dict[str, str]:
    """What each sample lacks, by id."""
    return {s.id: ("" if s.images else "image") + ("" if s.text else "text") for s in (*data.train, *data.test)}


def test_complete_data_is_the_very_data() -> None:
    for sets in ((), ("modality=missing", "modality.rate=0")):
        setup = Setup(toy.experiment(MEMES, *sets))
        assert setup.data is setup.loaded
        assert "modality" not in inputs(setup)
        assert "lost" not in who_holds_what(setup)["clients"][0]


def test_what_a_sample_lacks_does_not_depend_on_who_holds_it() -> None:
    ways = (
        (),
        ("scenario.clients=2",),
        ("scenario=dirichlet", "scenario.by=label", "scenario.alpha=0.3", "scenario.minimum=1"),
        ("method=centralised",),
        ("engine.workers=2",),
    )
    found = [lacking(Setup(toy.experiment(MEMES, *HALF, *sets)).data) for sets in ways]
    assert all(each == found[0] for each in found)
    assert {"image", "text", ""} == set(found[0].values())
    assert lacking(Setup(toy.experiment(MEMES, *HALF, "seed=1")).data) != found[0]


def test_the_same_on_every_machine() -> None:
    """Worked out once from the streams ``modality/<half>/<id>`` of seed 0: see ``tests/modalities/test_missing.py``."""
    found = lacking(Setup(toy.experiment(MEMES, *HALF)).data)
    assert [found[f"train-{n}"] for n in range(18)] == GOLDEN_TRAIN
    assert [found[f"test-{n}"] for n in range(9)] == GOLDEN_TEST


def test_a_pool_trains_on_each_sample_as_its_holder_sees_it() -> None:
    apart, pooled = (Setup(toy.experiment(MEMES, *HALF, *sets)) for sets in ((), ("method=centralised",)))
    turns = [example for name in apart.clients for example in apart.training_examples(name)]
    (pool,) = pooled.clients
    assert {e.id: e.prompt for e in turns} == {e.id: e.prompt for e in pooled.training_examples(pool)}
    assert any("<image>" not in e.prompt for e in turns)
    assert any("words" not in e.prompt for e in turns)


def test_the_rule_is_told_who_holds_a_sample_in_which_half() -> None:
    setup = Setup(toy.experiment(MEMES, f"modality={HERE}:seated"))
    for number, name in enumerate(setup.partition.names):
        assert {e.prompt.removeprefix("<image>") for e in setup.training_examples(name)} == {f"{name} {number} 3 train"}
        assert {sample.text for sample in setup.test_samples(name)} == {f"{name} {number} 3 test"}


def test_a_site_has_its_number_among_all() -> None:
    setup = Setup(toy.experiment(MEMES, f"modality={HERE}:seated"))
    alone = replace(setup.partition, train=[[0, 1]], test=[[0]], names=["b"])
    data = Data(setup.loaded.train[:2], setup.loaded.test[:1])
    found = seen(setup.experiment, setup.task, data, alone, ["a", "b", "c"])
    assert [sample.text for sample in (*found.train, *found.test)] == ["b 1 3 train"] * 2 + ["b 1 3 test"]


def test_both_evaluators_see_the_same(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "load", lambda name, *, adapter, seeds, **options: Looks(adapter.rank, 1.0, seeds))
    for sets in ((), HALF):
        server = run(MEMES, *sets, out=f"server{len(sets)}")
        clients = run(MEMES, *sets, "evaluation.where=clients", out=f"clients{len(sets)}")
        assert [server[key] for key in ("zero_shot", "final")] == [clients[key] for key in ("zero_shot", "final")]


def test_training_and_tests_are_of_what_is_seen(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shown: dict[str, set[str]] = {}

    class Noting(Looks):
        def collate(self, examples: Sequence[Example]) -> tuple[Tensor, Tensor]:
            for example in examples:
                shown.setdefault(example.id, set()).add(example.prompt)
            return super().collate(examples)

    monkeypatch.setattr(models, "load", lambda name, *, adapter, seeds, **options: Noting(adapter.rank, 1.0, seeds))
    run(MEMES, *HALF)
    found = lacking(Setup(toy.experiment(MEMES, *HALF)).data)
    for id, prompts in shown.items():  # in every round the same
        expected = ("" if "image" in found[id] else "<image>") + ("" if "text" in found[id] else f"words of {id}")
        assert prompts == {expected}
    assert len(shown) == 27
    examples = json.loads((tmp_path / "run" / "examples.json").read_text())
    assert len(examples) == 9
    for example in examples:
        assert bool(example["image"]) == ("image" not in found[example["id"]])
        assert (f"words of {example['id']}" in example["prompt"]) == ("text" not in found[example["id"]])


def test_what_each_client_lost_is_counted(run: Run, tmp_path: Path) -> None:
    run(MEMES, *HALF)
    setup = Setup(toy.experiment(MEMES, *HALF))
    found = lacking(setup.data)
    written = json.loads((tmp_path / "run" / "partition.json").read_text())
    assert written == who_holds_what(setup)
    for client, train, test in zip(written["clients"], setup.partition.train, setup.partition.test, strict=True):
        for half, indices in (("train", train), ("test", test)):
            mine = [found[getattr(setup.data, half)[index].id] for index in indices]
            counts = {kind: mine.count(kind) for kind in ("image", "text") if kind in mine}
            assert client["lost"][half] == counts
    each = Setup(toy.experiment(MEMES, "modality=missing", "modality.rate=1", "modality.what=each"))
    assert who_holds_what(each)["clients"][0]["lost"] == {"train": {"both": 6}, "test": {}}


def test_baselines_are_worded_from_what_is_seen() -> None:
    whole, half = (baselines(Setup(toy.experiment(MEMES, *sets))) for sets in ((), HALF))
    assert whole == half  # choices and answers are never missing


def test_the_fingerprint_tells_what_is_missing_apart_from_the_data() -> None:
    plain, half, more = (Setup(toy.experiment(MEMES, *sets)) for sets in ((), HALF, (*HALF, "modality.rate=0.9")))
    prints = [inputs(setup) for setup in (plain, half, more)]
    assert len({each["data"] for each in prints}) == 1
    assert [("modality" in each) for each in prints] == [False, True, True]
    assert prints[1]["modality"] != prints[2]["modality"]
    assert told_of_data(plain) == prints[0]["data"]  # as in older releases
    assert told_of_data(half) == f"{prints[1]['data']}/{prints[1]['modality']}"


def stopped(run: Run, *sets: str) -> None:
    calls = iter(range(9))
    with pytest.raises(Stopped):
        run(*sets, "rounds=3", stop=lambda: next(calls) >= 1)


def test_a_run_is_not_resumed_with_another_modality(run: Run) -> None:
    stopped(run, MEMES, *HALF)
    with pytest.raises(FedloomError, match=r"modality.rate: 0.5 in the folder, 0.4 asked for"):
        run(MEMES, *HALF, "modality.rate=0.4", "rounds=3", resume=True)
    assert run(MEMES, *HALF, "rounds=3", resume=True)["rounds"] == 3


def test_a_run_is_not_resumed_where_the_rule_itself_has_changed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    own = (MEMES, f"modality={HERE}:taking")
    stopped(run, *own)
    monkeypatch.setitem(TAKEN, "modality", "text")
    with pytest.raises(FedloomError, match=r"the modality is not what this run began with. Put it back"):
        run(*own, "rounds=3", resume=True)


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (
            (f"task={HERE}:pictured", *HALF),
            r"modality 'missing', train record 'train-\d+': task 'toy', .*word\(\) failed",
        ),
        ((f"modality={HERE}:shifty",), r"shifty', train record 'train-\d+': it gives Sample.*expected the sample"),
        ((f"modality={HERE}:broken",), r"broken', train record 'train-\d+': it failed: KeyError: 'nothing' \(.*line"),
        (("task=tests.federation.toy:task", *HALF), r"modality.what = 'either': no training example has image or text"),
        (("modality=missing", "modality.rate=2"), "rate: .*less than or equal to 1"),
        (("modality=mising",), r"there is no 'mising'. Did you mean 'missing'"),
        (("modality=missing", "modality.rats=0.1"), "has no key 'rats'. Did you mean 'rate'"),
        (("modality.rate=0.3",), "'complete' has no key 'rate'"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_trained(sets: tuple[str, ...], message: str) -> None:
    with pytest.raises(FedloomError, match=message):
        Setup(toy.experiment(MEMES, *sets)).check()


def test_a_validation_part_is_measured_at_the_rate_of_tests() -> None:
    sets = ("modality=missing", "modality.rate=0", "modality.test_rate=1", "evaluation.on=validation")
    setup = Setup(toy.experiment(MEMES, *sets))
    assert all(sample.images and sample.text for sample in setup.data.train)
    assert all(not (sample.images and sample.text) for sample in setup.data.test)


def test_the_mix_of_what_a_client_trains_on() -> None:
    setup = Setup(toy.experiment(*kinds.SETS))
    held = [mix(setup.training_samples(name)) for name in setup.clients]
    assert held == [{"image": 1.0}, {"text": 1.0}, {"image+text": 1.0}]
    pooled = mix(sample for name in setup.clients for sample in setup.training_samples(name))
    assert pooled == {what: pytest.approx(1 / 3) for what in ("image", "image+text", "text")}
