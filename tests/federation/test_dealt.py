"""What is trained on where it changes over the rounds, where it is filled, and where it is left out."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from fedloom import models
from fedloom.core.contracts import Data, Example, Half, Modality, Sample, Seat, Task, present
from fedloom.core.errors import FedloomError
from fedloom.federation import inputs
from fedloom.federation.client import Trainer
from fedloom.federation.kept import Kept
from fedloom.federation.result import who_holds_what
from fedloom.federation.round import Stopped
from fedloom.federation.seen import Sight
from fedloom.federation.setup import Setup
from tests.federation import toy
from tests.federation.test_seen import Looks, memes

Run = Callable[..., dict[str, Any]]
HERE = "tests.federation.test_dealt"
MEMES = "task=tests.federation.test_seen:memes"
TURNS = (MEMES, "modality=changing", "rounds=5")
KINDS = ["image", "text", "image+text"]


def kinds(setup: Setup, client: str, round: int) -> set[str]:
    return {present(sample) for sample in setup.training_samples(client, round)}


def shown(example: Example) -> str:
    words = "text" if "words" in example.prompt else ""
    return "+".join(part for part in ("image" if "<image>" in example.prompt else "", words) if part)


class Noting(Looks):
    """Notes what each pass of training sees; ``check`` what is looked at before."""

    seen: list[tuple[str, str]] = []  # noqa: RUF012
    checked: list[tuple[str, str]] = []  # noqa: RUF012

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        self.seen.extend(self._last)
        return super().loss(batch)

    def collate(self, examples: Sequence[Example]) -> tuple[Tensor, Tensor]:
        self._last = [(example.id, shown(example)) for example in examples]
        return super().collate(examples)

    def check(self, examples: Sequence[Example], trained: bool) -> None:
        if trained:
            self.checked.extend((example.id, shown(example)) for example in examples)


@pytest.fixture
def noting(monkeypatch: pytest.MonkeyPatch) -> type[Noting]:
    Noting.seen, Noting.checked = [], []
    monkeypatch.setattr(models, "load", lambda name, *, adapter, seeds, **options: Noting(adapter.rank, 1.0, seeds))
    return Noting


def test_each_round_has_its_form() -> None:
    setup = Setup(toy.experiment(*TURNS))
    assert setup.forms == {0: 0, 1: 2, 2: 3}
    for number, name in enumerate(setup.partition.names):
        for round in range(6):
            assert kinds(setup, name, round) == {KINDS[(number + max(round, 1) - 1) % 3]}
        assert {present(sample) for sample in setup.test_samples(name)} == {"image+text"}


def test_turns_train_on_what_is_there_in_their_round(noting: type[Noting]) -> None:
    setup = Setup(toy.experiment(*TURNS))
    ids = {s.id: n for n, mine in enumerate(setup.partition.train) for s in (setup.data.train[i] for i in mine)}
    calls: list[tuple[str, int]] = []
    whole = setup.training_examples

    def counted(client: str, round: int = 0) -> list[Example]:
        calls.append((client, round))
        return whole(client, round)

    setup.__dict__["training_examples"] = counted
    trainer = Trainer(setup, Kept(Path("kept")))
    for round in (1, 1, 2, 5, 4):
        for number, name in enumerate(setup.partition.names):
            job = type("Job", (), {"client": name, "round": round})
            examples, _ = trainer._seen(job)  # type: ignore[arg-type]
            assert {shown(example) for example in examples} == {KINDS[(number + round - 1) % 3]}
            assert {ids[example.id] for example in examples} == {number}
    assert [call for call in calls if call[0] == "0"] == [("0", 1), ("0", 2), ("0", 4)]  # rounds 2 and 5 are one form


def test_a_run_sees_every_form_and_had_looked_at_each(run: Run, noting: type[Noting]) -> None:
    run(*TURNS)
    trained = {(id, what) for id, what in noting.seen if id.startswith("train")}
    assert len(trained) == 18 * 3
    assert sorted(set(noting.checked)) == sorted(trained)
    assert len(noting.checked) == len(trained)  # none of them twice


def test_a_pool_sees_each_example_as_its_holder_does_in_that_round() -> None:
    apart, pool = Setup(toy.experiment(*TURNS)), Setup(toy.experiment(*TURNS, "method=centralised"))
    for round in range(5):
        turns = [example for name in apart.clients for example in apart.training_examples(name, round)]
        found = pool.training_examples("all", round)
        assert {e.id: e.prompt for e in found} == {e.id: e.prompt for e in turns}
        assert [example.id for example in found] == [sample.id for sample in pool.data.train]


def test_other_modalities_are_seen_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str, int]] = []
    left = Sight.left

    def noted(self: Sight, client: str, half: Half, round: int = 0) -> list[Sample]:
        asked.append((client, half, round))
        return left(self, client, half, round)

    monkeypatch.setattr(Sight, "left", noted)
    setup = Setup(toy.experiment(MEMES, "modality=missing"))
    for round in range(4):
        for name in setup.partition.names:
            setup.training_examples(name, round)
    assert sorted(asked) == sorted((name, half, 0) for name in "012" for half in ("train", "test"))


def stopped(run: Run, after: int, *sets: str, **options: Any) -> None:
    calls = iter(range(20))
    with pytest.raises(Stopped):
        run(*sets, stop=lambda: next(calls) >= after, **options)


def test_a_resumed_run_ends_in_the_same_bits(run: Run, noting: type[Noting], tmp_path: Path) -> None:
    whole = run(*TURNS, out="whole")
    stopped(run, 2, *TURNS, out="parts")
    resumed = run(*TURNS, out="parts", resume=True)
    assert {key: whole[key] for key in ("zero_shot", "final")} == {key: resumed[key] for key in ("zero_shot", "final")}
    files = [tmp_path / out / "adapter" / "adapter.safetensors" for out in ("whole", "parts")]
    assert files[0].read_bytes() == files[1].read_bytes()
    plain = run(MEMES, "rounds=5", out="plain")
    assert plain["final"] is not None
    assert (tmp_path / "plain/adapter/adapter.safetensors").read_bytes() != files[0].read_bytes()


@pytest.mark.parametrize("order", ["turn", "drawn"])
def test_a_run_goes_on_for_more_rounds(run: Run, noting: type[Noting], order: str) -> None:
    sets = (MEMES, "modality=changing", f"modality.order={order}")
    run(*sets, "rounds=2")
    assert run(*sets, "rounds=5", resume=True)["rounds"] == 5


def test_the_fingerprint_tells_every_form() -> None:
    def told(*sets: str) -> list[str]:
        return inputs.inputs(Setup(toy.experiment(MEMES, "modality=changing", *sets)))["modality"].split("/")

    three, other = told("rounds=5"), told("rounds=5", 'modality.holds=["image", "text", "image"]')
    assert len(set(three)) == 3
    assert three[0] != other[0]  # client 2 begins with both, or with images
    assert told("rounds=2") == three[:2]
    assert not inputs._begins("/".join(three), "/".join(other))
    assert inputs._begins("/".join(three), "/".join(three[:2]))


def late() -> Modality:
    """A rule that fails in the third round."""

    def see(sample: Sample, seat: Seat, rng: Any) -> Sample:
        return replace(sample, images=None if seat.round < 3 else sample.images, text=None)

    return Modality(see, form=lambda round: int(round >= 3))


def blind() -> Task:
    """A task that words no picture."""

    def word(sample: Sample) -> Example:
        if sample.images:
            raise ValueError("a picture")
        return Example(sample.id, (), "", toy.CHOICES, sample.answer)

    def load() -> Data:
        data = memes().load()
        return Data(data.train, tuple(replace(sample, images=None) for sample in data.test))

    return replace(memes(), load=load, word=lambda s: word(replace(s, images=None if s.text else s.images)))


def test_what_a_later_round_cannot_word_is_refused_before_the_first(run: Run, noting: type[Noting]) -> None:
    with pytest.raises(FedloomError, match=r"late', train record 'train-\d+': task 'toy', .*a picture"):
        run(f"task={HERE}:blind", f"modality={HERE}:late", "rounds=3")
    assert noting.seen == []
    run(f"task={HERE}:blind", f"modality={HERE}:late", "rounds=2")


def test_the_page_is_told_each_round() -> None:
    found = who_holds_what(Setup(toy.experiment(*TURNS)))
    assert found["forms"] == [0, 1, 2, 0, 1]
    assert found["clients"][1]["present"] == [{"text": 6}, {"image+text": 6}, {"image": 6}]
    assert found["clients"][1]["lost"] == {"test": {}}  # of training it is not the same in each round
    plain = who_holds_what(Setup(toy.experiment(MEMES)))
    assert plain["forms"] == []
    assert plain["clients"][0]["present"] == [{"image+text": 6}]
    assert "present" not in who_holds_what(Setup(toy.experiment()))["clients"][0]


# modality.fill

LOSSY = (MEMES, "modality=missing", "modality.rate=0.5", "modality.test_rate=0.5")


def test_what_lacks_a_modality_is_left_out_of_training_alone(run: Run, noting: type[Noting]) -> None:
    result = run(*LOSSY, "modality.fill=drop")
    whole = {id for id, what in noting.seen if id.startswith("train")}
    assert {what for id, what in noting.seen if id.startswith("train")} == {"image+text"}
    plain, setup = (Setup(toy.experiment(*LOSSY, f"modality.fill={fill}")) for fill in ("none", "drop"))
    assert whole == {sample.id for sample in plain.data.train if present(sample) == "image+text"}
    assert [one["examples"] for one in result["per_client"]] == [len(mine) for mine in setup.partition.train]
    assert sum(one["tested"] for one in result["per_client"]) == 9
    assert {present(sample) for sample in setup.data.test} == {"image", "text", "image+text"}
    (pool,) = Setup(toy.experiment(*LOSSY, "modality.fill=drop", "method=centralised")).clients.values()
    assert pool.examples == len(whole)
    counts = who_holds_what(setup)["clients"]
    assert [one["lost"] for one in counts] == [one["lost"] for one in who_holds_what(plain)["clients"]]
    assert [sum(one["train"].values()) for one in counts] == [len(mine) for mine in setup.partition.train]
    assert [sum(one["present"][0].values()) for one in counts] == [6, 6, 6]


def test_what_is_left_out_need_not_be_worded() -> None:
    sets = ("modality=missing", "modality.rate=0.5", "modality.what=image")
    with pytest.raises(FedloomError, match="word"):
        Setup(toy.experiment("task=tests.federation.test_seen:pictured", *sets)).check()
    Setup(toy.experiment("task=tests.federation.test_seen:pictured", *sets, "modality.fill=drop")).check()


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (
            ("modality=cross", "modality.image=1", "modality.fill=drop"),
            r"fill = 'drop': client '0' has no training example left, since each of its 6 lacks a modality. Fix: ",
        ),
        (("modality=changing", "modality.fill=drop"), r"'drop' leaves examples out of the whole run, .*'changing'"),
        (
            ("modality=cross", "modality.image=1", "modality.fill=retrieved"),
            r"'retrieved': no training example has both .* Fix: set modality.public to a share",
        ),
        (("modality=missing", "modality.public=0.2"), r"modality.fill = 'retrieved', which modality.public = 0.2"),
        (("modality=missing", "modality.fill=retrieved", "modality.public=1.5"), r"modality.public = 1.5: expected"),
        (("modality=missing", "modality.fill=any"), r"modality.fill = 'any': expected 'none', 'retrieved' or 'drop'"),
        (("modality=cross", "modality.image=4"), r"modality.image = 4: the experiment has 3 clients"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_trained(sets: tuple[str, ...], message: str) -> None:
    with pytest.raises(FedloomError, match=message):
        Setup(toy.experiment(MEMES, *sets)).check()


def test_what_is_missing_is_taken_from_a_client_s_own_examples() -> None:
    plain, setup = (Setup(toy.experiment(*LOSSY, f"modality.fill={fill}")) for fill in ("none", "retrieved"))
    assert {present(sample) for sample in (*setup.data.train, *setup.data.test)} == {"image+text"}
    for name, mine in zip(setup.partition.names, setup.partition.train, strict=True):
        own = {plain.data.train[index].text for index in mine if present(plain.data.train[index]) == "image+text"}
        assert own
        for before, after in zip(plain.training_samples(name), setup.training_samples(name), strict=True):
            assert after.text == before.text if before.text else after.text in own
        for before, after in zip(plain.test_samples(name), setup.test_samples(name), strict=True):
            assert after.text == before.text if before.text else after.text in own
    lost = [[one["lost"] for one in who_holds_what(each)["clients"]] for each in (plain, setup)]
    assert lost[0] == lost[1]  # the page tells what was missing


def test_or_from_a_public_set_that_nobody_trains_on() -> None:
    sets = ("modality=cross", "modality.image=1", "modality.fill=retrieved", "modality.public=0.2")
    setup = Setup(toy.experiment(MEMES, *sets))
    assert len(setup.public) == 4  # of 18: 3.6
    public = {sample.text for sample in setup.public}
    train = {sample.id for sample in setup.loaded.train}
    assert len(train) == 14
    assert not train & {sample.id for sample in setup.public}
    for client in setup.partition.names:
        found = setup.training_samples(client)
        assert {present(sample) for sample in found} == {"image+text"}
        assert sum(sample.text in public for sample in found) in (0, len(found))  # the image client's texts are public
    assert sum(sample.text in public for sample in setup.data.train) == len(setup.training_samples("1"))


def test_forms_are_filled_as_well() -> None:
    sets = (*TURNS, "modality.fill=retrieved", "modality.public=0.2")
    setup = Setup(toy.experiment(*sets))
    for name in setup.partition.names:
        for round in range(6):
            assert kinds(setup, name, round) == {"image+text"}
    assert who_holds_what(setup)["clients"][0]["present"][1:] == [{"text": 5}, {"image+text": 5}]


def test_a_folder_without_fill_goes_on(run: Run, tmp_path: Path) -> None:
    """A run of an older release kept neither ``fill`` nor ``public``."""
    stopped(run, 1, *LOSSY, "rounds=3")
    file = tmp_path / "run" / "config.toml"
    kept = [line for line in file.read_text().splitlines() if not line.startswith(("fill = ", "public = "))]
    assert len(kept) < len(file.read_text().splitlines())
    file.write_text("\n".join(kept) + "\n")
    assert run(*LOSSY, "rounds=3", resume=True)["rounds"] == 3
    assert json.loads((tmp_path / "run" / "partition.json").read_text())["forms"] == []
