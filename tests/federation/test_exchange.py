"""One hostile client among five, whose replies are finite and far too large: no run ends, nobody else is left out."""

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import hostile
from benchmarks.hostile import CLIENTS, HOSTILE, METHODS, ROUNDS, Attack, Found
from fedloom import engines
from fedloom.core.contracts import Job, Method, Parcel, Reduce, Reply
from fedloom.core.errors import FedloomError
from fedloom.core.tree import fingerprint
from fedloom.federation import exchange, outliers
from fedloom.federation.record import RunFolder
from fedloom.methods._common import mean, replace_server
from tests.federation import toy

FINE = Found("", 0.0).problem
LARGE = ("engine.name=benchmarks.hostile:attacked", f"scenario.clients={CLIENTS}", f"rounds={ROUNDS}")


@pytest.mark.parametrize("method", METHODS)
def test_no_run_ends(method: str, tmp_path: Path) -> None:
    assert hostile.run(method, tmp_path / "all", Attack(1e3)).problem == FINE
    assert hostile.run(method, tmp_path / "one", Attack(3e38, all=False), 'channel.up=["bf16"]').problem == FINE


@pytest.mark.parametrize(
    ("method", "slot"), [("scaffold", "control"), ("fednano", "fisher"), ("fednano-ef", "fisher"), ("q-fedavg", "loss")]
)
@pytest.mark.parametrize("magnitude", [1e3, 1e6, 3e38])
def test_nor_does_a_further_slot_end_one(method: str, slot: str, magnitude: float, tmp_path: Path) -> None:
    assert hostile.run(method, tmp_path / "run", Attack(magnitude, slot=slot)).problem == FINE


@pytest.mark.parametrize("channel", hostile.CHANNELS[1:])
def test_through_every_kind_of_channel(channel: str, tmp_path: Path) -> None:
    assert hostile.run("fedavg", tmp_path / "run", Attack(1e38), f'channel.up=["{channel}"]').problem == FINE
    assert hostile.run("stacking", tmp_path / "down", Attack(1e38), 'channel.down=["fp16"]').problem == FINE


def attacked(tmp_path: Path, attack: Attack | None, *sets: str, out: str = "run", **options: Any) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hostile.Attacked, "attack", attack)
        return engines.run(toy.experiment(*LARGE, *sets), tmp_path / out, **options)


def state(folder: Path) -> dict[str, str]:
    last = RunFolder(folder).last()
    assert last is not None
    return {slot: fingerprint(tree) for slot, tree in last.state.items()}


def rows(folder: Path, name: str) -> list[dict[str, Any]]:
    return RunFolder(folder).rows(name)


def test_the_others_train_as_if_it_had_not_answered(tmp_path: Path, run: Any) -> None:
    result = attacked(tmp_path, Attack(1e20))
    run(
        f"scenario.clients={CLIENTS}",
        f"rounds={ROUNDS}",
        bend=lambda job, reply: [] if job.client == HOSTILE else [reply],
        out="absent",
    )
    assert state(tmp_path / "run") == state(tmp_path / "absent")
    assert [(entry["round"], entry["client"]) for entry in result["left_out"]] == [(n, HOSTILE) for n in (1, 2, 3)]
    assert "engine.outliers" in result["left_out"][0]["error"]


def test_only_its_first_round_is_done_twice_and_a_resumed_run_remembers_it(tmp_path: Path) -> None:
    attacked(tmp_path, Attack(1e20), out="whole")
    turns = [row["round"] for row in rows(tmp_path / "whole", "clients.jsonl")]
    assert [turns.count(number) for number in (1, 2, 3)] == [CLIENTS + CLIENTS - 1, CLIENTS, CLIENTS]

    done: list[int] = []

    def stop() -> bool:
        done.append(1)
        return len(done) > CLIENTS + CLIENTS + 2  # in round 2

    with pytest.raises(exchange.Stopped):
        attacked(tmp_path, Attack(1e20), stop=stop)
    attacked(tmp_path, Attack(1e20), resume=True)
    assert state(tmp_path / "run") == state(tmp_path / "whole")
    again = [row["round"] for row in rows(tmp_path / "run", "clients.jsonl")]
    assert again.count(2) == CLIENTS
    last = RunFolder(tmp_path / "run").last()
    assert last is not None
    assert json.loads(str(last.facts["memory"]))["suspects"] == [HOSTILE]


def test_who_was_out_of_proportion_once_counts_again_when_it_is_not(tmp_path: Path) -> None:
    class Once(Attack):
        def on(self, slots: dict[str, Any]) -> dict[str, Any]:
            calls.append(1)
            return super().on(slots) if len(calls) == 1 else slots

    calls: list[int] = []
    result = attacked(tmp_path, Once(1e20))
    assert [(entry["round"], entry["client"]) for entry in result["left_out"]] == [(1, HOSTILE)]
    assert [row["clients"] for row in rows(tmp_path / "run", "rounds.jsonl")] == [
        ["1", "2", "3", "4"],
        ["1", "2", "3", "4", HOSTILE],  # it comes last from now on
        ["1", "2", "3", "4", HOSTILE],
    ]


def test_a_drawn_cohort_that_is_half_hostile_is_known_by_the_rounds_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of four: the upper median is theirs. What earlier rounds reached is not."""
    rounds = {1: "234", 2: "0123"}
    monkeypatch.setattr(hostile.Attacked, "hostile", frozenset("01"))

    def sampler() -> Any:
        return lambda clients, number, rng: [info for info in clients if info.name in rounds[number]]

    monkeypatch.setattr(toy, "drawn", sampler, raising=False)
    sets = (f"sampling={toy.HERE}:drawn", "rounds=2")
    result = attacked(tmp_path, Attack(1e5), *sets)
    assert [(entry["round"], entry["client"]) for entry in result["left_out"]] == [(2, "0"), (2, "1")]
    monkeypatch.setattr(outliers, "FARTHER", math.inf)
    assert attacked(tmp_path, Attack(1e5), *sets, out="forgetful")["left_out"] == []


def test_without_the_guard_the_attack_ends_the_run(tmp_path: Path) -> None:
    """So the tests above do test something."""
    with pytest.raises(FedloomError, match=r"round 2: 0 of 5 clients answered, twice"):
        attacked(tmp_path, Attack(1e20), "engine.outliers=0")


def overflowing(most: float) -> Reduce:
    """FedAvg, where values above ``most`` make a state that is not finite."""
    reduce = mean(adapter="examples")

    def lower(total: Any) -> Parcel:
        parcel = reduce.lower(total)
        return Parcel(
            {"adapter": {n: torch.where(v.abs() > most, torch.inf, v) for n, v in parcel.trees["adapter"].items()}}
        )

    return Reduce(reduce.lift, reduce.merge, lower, reduce.additive)


def test_a_state_that_is_not_finite_is_never_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toy, "overflowing", lambda most=1e2: Method(overflowing(most), replace_server()), raising=False)
    method = f"method={toy.HERE}:overflowing"
    result = attacked(tmp_path, Attack(1e20), method, "engine.outliers=0")
    assert [(entry["round"], entry["client"]) for entry in result["left_out"]] == [(n, HOSTILE) for n in (1, 2, 3)]
    assert "of all it moved farthest" in result["left_out"][0]["error"]

    with pytest.raises(FedloomError, match=r"round 1: .*'adapter/.*' holds NaN or infinity.*norm-bound"):
        attacked(tmp_path, None, f"method={toy.HERE}:overflowing", "method.most=0.0", out="all")
    last = RunFolder(tmp_path / "all").last()
    assert last is not None
    assert last.round == 0


def test_a_suspect_that_answers_first_takes_nobodys_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class First(hostile.Attacked):
        """All are asked at once, and the hostile client has its answer ready."""

        def exchange(self, jobs: Iterable[Job]) -> Iterator[Reply]:
            yield from sorted(super().exchange(jobs), key=lambda reply: reply.client != HOSTILE)

    monkeypatch.setattr(hostile, "attacked", lambda setup, kept: First(setup, kept))
    attacked(tmp_path, Attack(1e20), "sampling.extra=0.25", "engine.quorum=1.0")
    assert [row["clients"] for row in rows(tmp_path / "run", "rounds.jsonl")] == [["1", "2", "3", "4"]] * ROUNDS


def test_a_suspect_beside_one_other_is_measured_by_the_rounds_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Absent(hostile.Attacked):
        """In round 2 only one other answers."""

        def exchange(self, jobs: Iterable[Job]) -> Iterator[Reply]:
            for job in jobs:
                away = job.round == 2 and job.client in ("2", "3", "4")
                yield from (replace(reply, error="away") if away else reply for reply in super().exchange([job]))

    monkeypatch.setattr(hostile, "attacked", lambda setup, kept: Absent(setup, kept))
    result = attacked(tmp_path, Attack(1e20), "engine.quorum=0.1")
    assert [row["clients"] for row in rows(tmp_path / "run", "rounds.jsonl")] == [
        ["1", "2", "3", "4"],
        ["1"],
        ["1", "2", "3", "4"],
    ]
    assert "engine.outliers" in next(
        e["error"] for e in result["left_out"] if (e["round"], e["client"]) == (2, HOSTILE)
    )


def test_shares_that_no_client_can_have_cost_the_reply(tmp_path: Path) -> None:
    sets = ('method.with=["layerwise:measured"]',)
    found = hostile.run("fedavg", tmp_path / "run", Attack(1e3, slot="modality"), *sets)
    assert found.problem == FINE
    left_out = json.loads((tmp_path / "run" / "result.json").read_text())["left_out"]
    assert {(entry["client"], "expected shares of" in entry["error"]) for entry in left_out} == {
        (hostile.HOSTILE, True)
    }
    assert hostile.run("fedavg", tmp_path / "more", Attack(3e38), *sets).problem == FINE
