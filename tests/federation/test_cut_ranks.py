"""Clients that cut their ranks, through whole runs."""

import itertools
import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fedloom.core import lora, wire
from fedloom.core.contracts import Job, Reply
from fedloom.core.errors import FedloomError
from fedloom.federation.record import RunFolder
from fedloom.federation.round import Stopped
from fedloom.federation.setup import Setup
from tests.federation import toy

Run = Callable[..., dict[str, Any]]
SETS = ("method=hetlora", "method.gamma=0.5", "method.penalty=2.0", "adapter.rank=4", "rounds=4", "client.epochs=2")
CHANNELS = {"none": "[]", "coded": '["feedback", "topk:0.5", "int8"]'}


def note(seen: dict[tuple[str, int], list[int]]) -> toy.Bend:
    """Keeps the rank of what each client got (0: as it had it) and of what it said to have sent."""

    def look(job: Job, reply: Reply) -> Iterable[Reply]:
        got = wire.unpack(job.parcel, max_bytes=10**6).trees.get("adapter", {})
        sent = wire.unpack(reply.parcel, max_bytes=10**6)
        seen[job.client, job.round] = [len(got[toy.A]) if toy.A in got else 0, int(sent.facts["rank"])]
        if toy.A in sent.trees["adapter"]:
            assert len(sent.trees["adapter"][toy.A]) == sent.facts["rank"]
        return [reply]

    return look


def same(one: Path, other: Path) -> bool:
    found = [RunFolder(path).last() for path in (one, other)]
    left, right = ({slot: sorted(tree) for slot, tree in (last.state if last else {}).items()} for last in found)
    return left == right and all(
        torch.equal(value, found[1].state[slot][name])  # type: ignore[union-attr]
        for slot, tree in found[0].state.items()  # type: ignore[union-attr]
        for name, value in tree.items()
    )


@pytest.mark.parametrize("up", CHANNELS)
def test_a_rank_that_was_cut_is_what_travels_from_then_on(run: Run, tmp_path: Path, up: str) -> None:
    seen: dict[tuple[str, int], list[int]] = {}
    result = run(*SETS, f"channel.up={CHANNELS[up]}", bend=note(seen))
    assert not result["left_out"]
    for client in "012":
        rows = [seen[client, number] for number in range(1, 5)]
        assert rows[0] == [0, 4]  # from B = 0 nothing can fall
        for (_, before), (got, sent) in itertools.pairwise(rows):
            assert got == before
            assert sent in (before, max(1, before // 2))
    assert min(sent for _, sent in seen.values()) < 4
    last = RunFolder(tmp_path / "run").last()
    assert last is not None
    assert {name: int(rank) for name, rank in last.state["ranks"].items()} == {c: seen[c, 4][1] for c in "012"}
    if up == "none":
        rows = RunFolder(tmp_path / "run").rows("clients.jsonl")
        for row in rows:  # 4 r (k + d) bytes of float32: only what is sent counts
            assert row["parts_up"]["adapter"] == 4 * seen[row["client"], row["round"]][1] * (4 + 2)


@pytest.mark.parametrize("up", CHANNELS)
@pytest.mark.parametrize("replies", [5, 9, 13])
def test_a_resumed_run_has_the_same_bits(run: Run, tmp_path: Path, up: str, replies: int) -> None:
    sets = (*SETS, f"channel.up={CHANNELS[up]}")
    run(*sets, out="whole")
    asked = iter(range(10**6))
    with pytest.raises(Stopped):
        run(*sets, out="stopped", stop=lambda: next(asked) >= replies)
    run(*sets, out="stopped", resume=True)
    assert same(tmp_path / "whole", tmp_path / "stopped")


def test_clients_that_answer_themselves_do_so_in_their_rank(run: Run) -> None:
    result = run(*SETS, "evaluation.where=clients", "evaluation.every=1")
    assert not result["left_out"]


def told(rank: object) -> toy.Bend:
    def bend(job: Job, reply: Reply) -> Iterable[Reply]:
        parcel = wire.unpack(reply.parcel, max_bytes=10**6)
        if job.client == "1":
            parcel.facts["rank"] = rank  # type: ignore[assignment]
            if isinstance(rank, int) and 1 <= rank <= 2:
                parcel.trees["adapter"] = lora.truncate(parcel.trees["adapter"], rank)
        return [replace(reply, parcel=wire.pack(parcel))]

    return bend


@pytest.mark.parametrize("rank", [0, -1, 5, "2", 1.5])
def test_a_rank_that_cannot_be_is_refused(run: Run, tmp_path: Path, rank: object) -> None:
    result = run(*SETS, "rounds=1", "engine.quorum=0.5", bend=told(rank))
    (entry,) = result["left_out"]
    assert entry["client"] == "1"
    assert f"fact 'rank' is {rank!r}, expected a whole number from 1 to 4" in entry["error"]
    assert json.loads((tmp_path / "run" / "rounds.jsonl").read_text())["clients"] == ["0", "2"]


@pytest.mark.parametrize("method", ["fedavg", "flexlora", "hetlora method.gamma=1"])
def test_where_no_client_cuts_its_rank_none_may(run: Run, method: str) -> None:
    name, *options = method.split()
    result = run(f"method={name}", *options, "rounds=1", "engine.quorum=0.5", bend=told(1))
    (entry,) = result["left_out"]
    assert entry["client"] == "1"
    assert "this method's clients do not cut their ranks" in entry["error"]


def test_no_rank_is_cut_where_the_adapter_starts_from_the_weights() -> None:
    with pytest.raises(FedloomError, match=r"adapter\.init = 'svd': 'hetlora' lets clients cut.*method\.gamma = 1"):
        _ = Setup(toy.experiment("method=hetlora", "adapter.init=svd")).method
    assert Setup(toy.experiment("method=hetlora", "method.gamma=1", "adapter.init=svd")).method.mixed_ranks
