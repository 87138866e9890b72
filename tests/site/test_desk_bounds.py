"""What a hostile server asks of a site beyond what its site.toml allows, however it words it."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fedloom.core import config, limits, wire
from fedloom.core.contracts import LocalRun, Method, Parcel, Tree
from fedloom.core.tree import fingerprint
from fedloom.federation import client, gradients
from fedloom.methods.fedavg import fedavg
from fedloom.site.letter import Letter
from fedloom.site.policy import Policy
from tests.federation import toy
from tests.site.test_desk import desk, good, hello, kept, letter

EVALUATED = "evaluation.where=clients"
START = "run.start"


@pytest.fixture(autouse=True)
def _toy(monkeypatch: pytest.MonkeyPatch) -> None:
    toy.use(monkeypatch)


def rules(**keys: Any) -> Policy:
    return Policy.model_validate({"code": ["*"], **keys})


def refused(answer: Letter, words: str) -> None:
    assert answer.error == f"site '0': {words}"
    assert answer.parcel == b""


def sending(sets: list[str], **slots: Tree) -> Letter:
    """A letter that asks for a turn, with slots of a server's own choosing."""
    return replace(letter(toy.experiment(*sets)), parcel=wire.pack(Parcel(slots)))


# --- few examples: the toy's clients hold six, and three to be tested ---------------------------------------------


@pytest.mark.parametrize(
    ("sets", "seen"),
    [
        (["client.batch_size=1", "client.max_steps=1"], 1),
        (["client.batch_size=1", "client.max_steps=5"], 5),
        (["client.batch_size=2", "client.max_steps=2", "client.epochs=99"], 4),
        (["client.batch_size=5", "client.max_steps=1"], 5),
    ],
)
@pytest.mark.parametrize("kind", ["hello", "train"])
def test_a_turn_that_sees_too_few_examples_is_refused_before_it_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, sets: list[str], seen: int
) -> None:
    asked = letter(toy.experiment(*sets), kind) if kind == "train" else hello(toy.experiment(*sets))
    good(desk(tmp_path / "few", policy=rules(min_examples=seen)).answer(asked))
    monkeypatch.setattr(client, "train", None)
    refused(
        desk(tmp_path / "more", policy=rules(min_examples=seen + 1)).answer(asked),
        f"the site refuses training on {seen} examples: its site.toml says min_examples = {seen + 1}.",
    )


@pytest.mark.parametrize("sets", [["evaluation.limit=1"], ["evaluation.limit=2"], ["evaluation.validation=0.01"]])
def test_a_score_that_too_few_examples_decide_is_not_told(tmp_path: Path, sets: list[str]) -> None:
    on = ["evaluation.on=validation"] if "validation" in sets[0] else []
    experiment = toy.experiment(EVALUATED, "scenario.clients=1", *sets, *on)
    tested = 2 if sets == ["evaluation.limit=2"] else 1
    refused(
        desk(tmp_path, policy=rules(min_examples=3)).answer(letter(experiment, "evaluate")),
        f"the site refuses scores over {tested} examples: its site.toml says min_examples = 3.",
    )


def test_a_score_of_enough_examples_is_told(tmp_path: Path) -> None:
    asked = letter(toy.experiment(EVALUATED), "evaluate")
    good(desk(tmp_path, policy=rules(min_examples=3)).answer(asked))
    refused(
        desk(tmp_path, policy=rules(min_examples=4)).answer(asked),
        "the site refuses scores over 3 examples: its site.toml says min_examples = 4.",
    )


# --- rounds and turns ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", [rules(), rules(max_rounds=2)], ids=["defaults", "max_rounds"])
@pytest.mark.parametrize(
    ("kind", "round"), [("train", 0), ("train", 3), ("train", 10**15), ("evaluate", 3), ("evaluate", 10**15)]
)
def test_a_round_that_the_experiment_does_not_have_is_refused(
    tmp_path: Path, kind: str, round: int, policy: Policy
) -> None:
    asked = replace(letter(toy.experiment(EVALUATED), kind), round=round)
    refused(desk(tmp_path, policy=policy).answer(asked), f"{kind!r} in round {round}: the experiment has 2 rounds.")


def test_the_start_may_be_scored_before_round_one(tmp_path: Path) -> None:
    good(desk(tmp_path).answer(letter(toy.experiment(EVALUATED), "evaluate", round=0)))


def test_a_site_gives_each_round_again_a_few_times_and_no_more(tmp_path: Path) -> None:
    """Three times two rounds and eight: a round that is done again, and a run that goes on, are asked anew."""
    experiment = toy.experiment()
    for turn in range(14):  # a worker that is started again has forgotten nothing
        good(desk(tmp_path).answer(letter(experiment, round=1 + turn % 2, nonce=f"n{turn}")))
    told = "the site gave 14 turns of kind 'train' in this run: a run of 2 rounds has 14 of them at most."
    last = letter(experiment, round=2, nonce="n13")
    refused(desk(tmp_path).answer(letter(experiment, nonce="n14")), f"{told} Begin a new run.")
    for _ in range(3):  # its answer was lost: that is no other turn
        good(desk(tmp_path).answer(last))
    other = wire.pack(Parcel({"adapter": {toy.B: torch.ones(2, 2)}}))
    refused(  # nor is another turn the last under its nonce
        desk(tmp_path).answer(replace(last, parcel=other)), "the message n13 of round 2 was answered before: a replay."
    )
    good(desk(tmp_path).answer(letter(experiment, run="run2")))


def test_turns_that_fail_are_counted_and_other_kinds_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, experiment = desk(tmp_path), toy.experiment(EVALUATED)
    asked = [letter(experiment, nonce=f"n{number}") for number in range(15)]
    with monkeypatch.context() as broken:
        broken.setattr(toy.Toy, "collate", lambda *_: 1 / 0)
        assert ["it failed" in here.answer(each).error for each in asked] == [True] * 14 + [False]
    assert "14 of them at most" in here.answer(letter(experiment)).error
    good(here.answer(letter(experiment, "evaluate")))


def test_what_is_refused_for_another_reason_is_no_turn(tmp_path: Path) -> None:
    here, experiment = desk(tmp_path), toy.experiment()
    for _ in range(30):
        assert here.answer(letter(experiment, model="other")).error
    good(here.answer(letter(experiment)))
    assert json.loads((tmp_path / "turns.json").read_text()) == {"run1": {"train": 1}}


def test_a_run_under_another_name_is_one_more_run(tmp_path: Path) -> None:
    """Also when the site has dropped what it kept of the first ones."""
    policy, experiment = rules(max_runs=3, keep_runs=1), toy.experiment()
    for run in ("a", "b", "c", "a"):
        good(desk(tmp_path, policy=policy).answer(letter(experiment, run=run, nonce=f"{run}{time.time()}")))
    refused(
        desk(tmp_path, policy=policy).answer(letter(experiment, run="d")),
        "the site refuses a run after 3 others: its site.toml says max_runs = 3.",
    )


@pytest.mark.parametrize("nonce", ["a\nb", "a b", "a\x1b"])
def test_a_nonce_of_more_than_a_word_is_refused(tmp_path: Path, nonce: str) -> None:
    refused(desk(tmp_path).answer(letter(toy.experiment(), nonce=nonce)), f"nonce {nonce!r}: expected one word.")


def test_turns_that_cannot_be_read_are_not_counted_anew(tmp_path: Path) -> None:
    told: list[str] = []
    here = desk(tmp_path, tell=told.append)
    for text in ("{", "[]", '{"run1": 3}', '{"run1": {"train": "x"}}'):
        (tmp_path / "turns.json").write_text(text)
        assert here.answer(letter(toy.experiment())).error.endswith("its own log says why.")
        assert "turns.json: cannot be read as the turns that this site gave" in told[-1]


@pytest.mark.parametrize(
    ("kind", "sets", "words"),
    [
        ("update", [], "a first update is asked for, and adapter.init = 'kaiming' needs none."),
        ("evaluate", [], "scores are asked for, and evaluation.where = 'server' has no site tell any."),
    ],
)
def test_what_the_experiment_does_not_ask_for_is_refused(
    tmp_path: Path, kind: str, sets: list[str], words: str
) -> None:
    asked = replace(letter(toy.experiment(*sets)), kind=kind, round=0)  # type: ignore[arg-type]
    refused(desk(tmp_path).answer(asked), words)


# --- shapes that came ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slot", ["adapter", START])
@pytest.mark.parametrize("halves", [(toy.A, toy.B), (toy.A,), (toy.B,)])
def test_an_adapter_of_a_larger_rank_than_was_agreed_is_not_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slot: str, halves: tuple[str, ...]
) -> None:
    monkeypatch.setattr(client, "train", None)
    large = {toy.A: torch.ones(500, 4), toy.B: torch.ones(2, 500)}
    asked = sending([], **{slot: {name: large[name] for name in halves}})
    if slot == START:
        start = wire.unpack(asked.parcel, max_bytes=10**6)
        start.facts[START] = fingerprint(start.trees[START])
        asked = replace(asked, parcel=wire.pack(start))
    told: list[str] = []
    here = desk(tmp_path, policy=rules(max_rank=2), tell=told.append)
    assert here.answer(asked).error.endswith("its own log says why.")
    assert f"'{slot}/{halves[0]}' is" in told[-1]
    assert "of rank 500; expected at most 2, the rank of its client" in told[-1]
    assert kept(tmp_path) == {}


def test_the_change_to_the_base_may_grow_to_what_a_weight_can_hold(tmp_path: Path) -> None:
    """It is not trained: stacking sends all clients' pairs one above the other, up to the rank of the weight, 2."""
    here = desk(tmp_path, policy=rules(max_rank=2))
    pair = {toy.A: torch.ones(2, 4), toy.B: torch.ones(2, 2)}
    good(here.answer(sending(["method=stacking"], base=pair)))
    told: list[str] = []
    here.tell = told.append
    large = sending(["method=stacking"], base={toy.A: torch.ones(5, 4), toy.B: torch.ones(2, 5)})
    assert here.answer(replace(large, nonce="other")).error
    assert "of rank 5; expected at most 4, as its weight has" in told[-1]


# --- work without a bound -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "asked",
    [
        "engine.threads=1024",
        "scenario.clients=1000000000",
        "client.batch_size=100000",
        "evaluation.batch_size=100000",
        "model.max_new_tokens=1000000",
        "model.cache_mb=100000000",
        "model.disk_cache_mb=100000000",
        "rounds=1000000000000",
        "adapter.rank=100000",
        "client.epochs=100000000",
    ],
)
def test_work_without_end_is_refused_by_the_defaults(tmp_path: Path, asked: str) -> None:
    answer = desk(tmp_path, policy=rules(max_threads=64)).answer(hello(toy.experiment(asked)))
    assert answer.error.startswith("site '0': the site refuses ")
    assert "its site.toml says max_" in answer.error


@pytest.mark.parametrize(
    ("task", "sets", "drawn"),
    [
        ("icons-qa/choose_txt", ["task.train=100000000"], 100_000_000),
        ("icons-qa/fill_in_blank", ["task.train=8", "task.test=200000"], 200_008),
        ("icons-memes", ["task.train=400000"], 400_000),
        ("icons-classify", ["task.train_shots=1000000"], 1_965_000_000),
    ],
)
def test_examples_without_end_are_refused_before_one_is_drawn(
    tmp_path: Path, task: str, sets: list[str], drawn: int
) -> None:
    begun = time.monotonic()
    asked = toy.experiment("task=" + task, *sets)
    refused(
        desk(tmp_path).answer(hello(asked)),
        f"the site refuses a task that draws {drawn} examples: its site.toml says max_examples = 100000.",
    )
    assert time.monotonic() - begun < 10


class Clock:
    """A clock that is five minutes later every time that it is looked at."""

    def __init__(self) -> None:
        self.now = time.monotonic()

    def __call__(self) -> float:
        self.now += 300
        return self.now


Slow = Callable[[], None]


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Slow:
    """Have time run as ``Clock`` has it, from then on."""
    return lambda: monkeypatch.setattr("fedloom.site.work.time.monotonic", Clock())


@pytest.mark.parametrize("kind", ["train", "evaluate"])
def test_a_turn_that_takes_too_long_ends_between_two_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slow: Slow, kind: str
) -> None:
    """Three batches of an epoch, and four epochs; a thousand seconds are three looks at the clock and a bit."""
    here, experiment = desk(tmp_path, policy=rules(max_seconds=1000)), toy.experiment(EVALUATED, "client.epochs=4")
    asked = letter(experiment, kind)
    good(here.answer(hello(experiment)))
    steps: list[int] = []
    answer, backward = toy.Toy.answer, gradients.backward

    def in_batches(self: toy.Toy, examples: Any) -> list[str]:
        for _ in range(9):
            limits.tick()
            steps.append(1)
        return answer(self, examples)

    def counted(*given: Any) -> Any:
        steps.append(1)
        return backward(*given)

    monkeypatch.setattr(toy.Toy, "answer", in_batches)
    monkeypatch.setattr(gradients, "backward", counted)
    slow()
    refused(
        here.answer(asked),
        "the site refuses work of more than 1000 seconds for one message: its site.toml says max_seconds = 1000.",
    )
    assert len(steps) == 3
    assert kept(tmp_path) == {}


@pytest.mark.parametrize(("method", "words"), [("fedavg", ""), ("q-fedavg", "= 700."), ("fednano", "= 700.")])
def test_time_is_looked_at_wherever_a_method_passes_over_all_examples(
    tmp_path: Path, slow: Slow, method: str, words: str
) -> None:
    """One step looks once; q-fedavg passes over the data before and after it, fednano over each example."""
    experiment = toy.experiment(f"method={method}", "client.max_steps=1")
    here, asked = desk(tmp_path, policy=rules(max_seconds=700)), letter(experiment)
    good(here.answer(hello(experiment)))
    slow()
    assert here.answer(asked).error[-6:] == words


def test_data_that_takes_too_long_to_read_is_not_read_on(tmp_path: Path, slow: Slow) -> None:
    slow()
    here = desk(tmp_path, policy=rules(max_seconds=1000))
    assert "the site refuses work of more than 1000 seconds" in here.answer(hello(toy.experiment())).error


# --- what a method tells ------------------------------------------------------------------------------------------

TELLS = "method 'q-fedavg', which tells the server its loss"


@pytest.mark.parametrize(
    ("sets", "keys", "words"),
    [
        (["method=q-fedavg"], {"metrics": "none"}, f"{TELLS}: {{}} metrics = 'none'"),
        (["method=q-fedavg"], {"metrics": "sums"}, f"{TELLS}: {{}} metrics = 'sums'"),
        (["method=q-fedavg"], {"reveals": ["rank"]}, "method 'q-fedavg', which reveals 'loss': {} reveals = ['rank']"),
        (["method=hetlora"], {"reveals": ["loss"]}, "method 'hetlora', which reveals 'rank': {} reveals = ['loss']"),
        (["method=scaffold"], {"reveals": []}, "method 'scaffold', which reveals 'gradients': {} reveals = []"),
        (["method=fednano"], {"reveals": []}, "method 'fednano', which reveals 'squared-gradients': {} reveals = []"),
        (
            ["adapter.init=update"],
            {"reveals": ["gradients"]},
            "adapter.init = 'update', which reveals 'gradient-signs': {} reveals = ['gradients']",
        ),
    ],
)
@pytest.mark.parametrize("kind", ["hello", "train"])
def test_a_method_that_tells_more_than_may_leave_is_refused(
    tmp_path: Path, kind: str, sets: list[str], keys: dict[str, Any], words: str
) -> None:
    answer = desk(tmp_path, policy=rules(**keys)).answer(replace(hello(toy.experiment(*sets)), kind=kind))
    refused(answer, f"the site refuses {words.format('its site.toml says')}.")


@pytest.mark.parametrize("method", ["fedavg", "median", "ditto", "feddyn", "stacking"])
def test_a_method_that_tells_nothing_besides_needs_no_leave(tmp_path: Path, method: str) -> None:
    policy = rules(metrics="none", reveals=[])
    good(desk(tmp_path, policy=policy).answer(letter(toy.experiment(f"method={method}"))))


def leaky() -> Method:
    """A method of a user's own that sends more than it says."""

    def send(run: LocalRun) -> dict[str, Tree]:
        return {"rows": {"first": torch.ones(3)}}

    return replace(fedavg(), local=replace(fedavg().local, send=send))


def test_a_slot_that_a_method_does_not_declare_does_not_leave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toy, "leaky", leaky, raising=False)
    told: list[str] = []
    here = desk(tmp_path, tell=told.append)
    answer = here.answer(letter(toy.experiment("method=tests.federation.toy:leaky")))
    assert (answer.parcel, kept(tmp_path)) == (b"", {})
    assert "its clients send 'rows' besides the adapter, and its Local does not declare it" in told[-1]


def test_the_experiment_that_ships_is_taken_part_in_with_the_defaults(tmp_path: Path) -> None:
    for name in config.presets():
        Policy(max_threads=2, layer_patterns=True).check(config.load(name))
