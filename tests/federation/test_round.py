"""The round loop: what is folded in, what is counted, and what is refused without harm to the others."""

import itertools
import json
import struct
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fedloom.core import tree, wire
from fedloom.core.contracts import ClientInfo, Job, Parcel, Reply, Tree
from fedloom.core.errors import FedloomError
from fedloom.federation import order
from fedloom.federation.record import RunFolder
from fedloom.federation.round import Stopped
from tests.federation import toy

Run = Callable[..., dict[str, Any]]
ODD = "1"
"""The client whose reply is bent."""


def lines(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def state(folder: Path) -> dict[str, Tree]:
    last = RunFolder(folder).last()
    assert last is not None
    return last.state


def same(one: dict[str, Tree], other: dict[str, Tree]) -> bool:
    return {s: tree.fingerprint(t) for s, t in one.items()} == {s: tree.fingerprint(t) for s, t in other.items()}


def opened(reply: Reply) -> Parcel:
    return wire.unpack(reply.parcel, max_bytes=2**20)


def test_replies_are_averaged_by_examples_and_bytes_are_those_of_the_parcels(run: Run, tmp_path: Path) -> None:
    up: dict[str, Reply] = {}
    down: dict[str, int] = {}

    def note(job: Job, reply: Reply) -> Iterable[Reply]:
        up[job.client], down[job.client] = reply, len(job.parcel)
        return [reply]

    result = run("rounds=1", "scenario.name=quantity", bend=note)
    held = {entry["client"]: entry["examples"] for entry in result["per_client"]}
    assert len(set(held.values())) > 1
    assert sum(held.values()) == 18
    for name in (toy.A, toy.B):
        parts = [opened(reply).trees["adapter"][name].double() * held[client] for client, reply in up.items()]
        torch.testing.assert_close(state(tmp_path / "run")["adapter"][name], (sum(parts) / 18).float())
    rows = {row["client"]: row for row in lines(tmp_path / "run", "clients.jsonl")}
    assert {c: (row["bytes_up"], row["bytes_down"]) for c, row in rows.items()} == {
        c: (len(up[c].parcel), down[c]) for c in up
    }
    assert result["bytes"]["up"] == sum(len(reply.parcel) for reply in up.values())
    assert result["bytes"]["down"] == sum(down.values())
    assert {c: row["examples"] for c, row in rows.items()} == held
    (row,) = lines(tmp_path / "run", "rounds.jsonl")
    facts = [opened(up[c]).facts for c in rows]
    assert row["loss"] == pytest.approx(sum(float(f["loss"]) * int(f["examples"]) for f in facts) / 18)
    assert (row["clients"], row["left_out"]) == (["0", "1", "2"], [])


@pytest.mark.parametrize("method", ["fedavg", "scaffold", "stacking", "flexlora"])
def test_replies_in_any_order_give_the_same_bits(run: Run, tmp_path: Path, method: str) -> None:
    held: list[Reply] = []

    def backwards(job: Job, reply: Reply) -> Iterable[Reply]:
        held.append(reply)
        if len(held) < 3:
            return []
        late = [held[2], held[0], held[1]]
        held.clear()
        return late

    run(f"method={method}", out="straight")
    run(f"method={method}", out="mixed", bend=backwards)
    assert same(state(tmp_path / "straight"), state(tmp_path / "mixed"))


def test_holds_replies_back_until_their_turn() -> None:
    cohort = [ClientInfo(name, 1, 1) for name in "abc"]
    replies = [Reply("c"), Reply("c", error="again"), Reply("a"), Reply("stranger")]
    found = order.in_order(iter(replies), cohort)
    got = [(info.name if info else None, reply.client, reply.error) for info, reply in found]
    assert got == [
        (None, "c", "again"),
        ("a", "a", ""),
        (None, "stranger", ""),
        ("b", "b", "client 'b' did not answer."),
        ("c", "c", ""),
    ]


def changed(reply: Reply, change: Callable[[Parcel], None]) -> list[Reply]:
    parcel = opened(reply)
    change(parcel)
    return [replace(reply, parcel=wire.pack(parcel))]


def adapter(name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Reply], list[Reply]]:
    def bend(parcel: Parcel) -> None:
        parcel.trees["adapter"][name] = change(parcel.trees["adapter"][name])

    return lambda reply: changed(reply, bend)


def facts(**values: float | str) -> Callable[[Reply], list[Reply]]:
    return lambda reply: changed(reply, lambda parcel: parcel.facts.update(values))


def renamed(parcel: Parcel) -> None:
    parcel.trees["adapter"]["other.lora_A.weight"] = parcel.trees["adapter"].pop(toy.A)


def retyped(blob: bytes, dtype: object) -> bytes:
    """A parcel's bytes with another type of its first tensor in the header."""
    (length,) = struct.unpack("<Q", blob[:8])
    header = json.loads(blob[8 : 8 + length])
    next(entry for name, entry in header.items() if name != "__metadata__")["dtype"] = dtype
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + blob[8 + length :]


BAD: dict[str, tuple[Callable[[Reply], list[Reply]], str]] = {
    "truncated": (lambda reply: [replace(reply, parcel=reply.parcel[:-7])], "cut short"),
    "cut in its header": (lambda reply: [replace(reply, parcel=reply.parcel[:20])], "cut short"),
    "empty": (lambda reply: [replace(reply, parcel=b"")], "cut short"),
    "noise": (lambda reply: [replace(reply, parcel=bytes(range(256)) * 9)], "header"),
    "oversized": (lambda reply: [replace(reply, parcel=reply.parcel + bytes(2**25))], "allowed"),
    "mis-typed": (adapter(toy.A, torch.Tensor.double), "float64"),
    "whole numbers": (adapter(toy.A, torch.Tensor.long), "int64"),
    "NaN": (adapter(toy.B, lambda value: value.fill_(torch.nan)), "NaN"),
    "infinite": (adapter(toy.B, lambda value: value.fill_(torch.inf)), "infinity"),
    "wrong shape": (adapter(toy.A, lambda value: value[:, :3]), "expected torch.float32 [2, 4]"),
    "another rank": (adapter(toy.A, lambda value: torch.cat([value, value])), "expected torch.float32 [2, 4]"),
    "wrong name": (lambda reply: changed(reply, renamed), f"{toy.A}' is missing"),
    "no adapter": (lambda reply: changed(reply, lambda p: p.trees.clear()), "'adapter' is missing"),
    "one tensor less": (lambda reply: changed(reply, lambda p: p.trees["adapter"].popitem()), "is missing"),
    "far too many examples": (facts(examples=10**12), "examples"),
    "examples in words": (facts(examples="six"), "examples"),
    "no facts": (lambda reply: changed(reply, lambda parcel: parcel.facts.clear()), "examples"),
    "loss in words": (facts(loss="low"), "loss"),
    "a loss that sums to infinity": (facts(loss=1.7e308), "loss"),
    "a loss below all losses": (facts(loss=-3e38), "loss"),
    "negative steps": (facts(steps=-1), "steps"),
    "more steps than there are": (facts(steps=2**40), "expected a whole number from 0 to 3"),
    "more bytes than there are": (facts(split_up=2**62), "split_up"),
    "a fact that no reply has": (facts(bonus=7), "'bonus'"),
    "neither private nor not": (facts(private="no"), "private"),
    "a type that is a list": (lambda reply: [replace(reply, parcel=retyped(reply.parcel, ["F32"]))], "type"),
    "a type that is a table": (lambda reply: [replace(reply, parcel=retyped(reply.parcel, {"F32": 1}))], "type"),
    "an error": (lambda reply: [Reply(reply.client, error=f"client {reply.client!r}: out of memory")], "out of memory"),
    "no answer": (lambda reply: [], "did not answer"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_reply_is_left_out_and_named_and_the_run_goes_on(run: Run, tmp_path: Path, case: str) -> None:
    bend, words = BAD[case]

    def first_round(job: Job, reply: Reply) -> Iterable[Reply]:
        return bend(reply) if (job.client, job.round) == (ODD, 1) else [reply]

    result = run(bend=first_round, out="bad")
    run(bend=lambda job, reply: [] if (job.client, job.round) == (ODD, 1) else [reply], out="absent")
    assert same(state(tmp_path / "bad"), state(tmp_path / "absent"))

    (entry,) = result["left_out"]
    assert (entry["round"], entry["client"]) == (1, ODD)
    assert f"client {ODD!r}" in entry["error"]
    assert words in entry["error"]
    one, two = lines(tmp_path / "bad", "rounds.jsonl")
    assert (one["clients"], one["left_out"], two["clients"]) == (["0", "2"], [entry], ["0", "1", "2"])
    errors = {row["client"]: row["error"] for row in lines(tmp_path / "bad", "clients.jsonl") if row["round"] == 1}
    assert errors == {"0": "", ODD: entry["error"], "2": ""}


def drop_control(parcel: Parcel) -> None:
    del parcel.trees["control"]


def narrow_control(parcel: Parcel) -> None:
    parcel.trees["control"][toy.A] = torch.ones(2, 3)


def short_control(parcel: Parcel) -> None:
    parcel.trees["control"] = parcel.trees["control"] | {"x": torch.ones(1)}


def nan_control(parcel: Parcel) -> None:
    parcel.trees["control"][toy.B] = torch.full((2, 2), torch.nan)


@pytest.mark.parametrize("change", [drop_control, narrow_control, short_control, nan_control])
def test_a_bad_control_variate_harms_nobody_else(run: Run, tmp_path: Path, change: Callable[[Parcel], None]) -> None:
    def bend(job: Job, reply: Reply) -> Iterable[Reply]:
        return changed(reply, change) if job.client == ODD else [reply]

    result = run("method=scaffold", bend=bend, out="bad")
    run("method=scaffold", bend=lambda job, reply: [] if job.client == ODD else [reply], out="absent")
    assert same(state(tmp_path / "bad"), state(tmp_path / "absent"))
    assert [(entry["round"], entry["client"]) for entry in result["left_out"]] == [(1, ODD), (2, ODD)]


@pytest.mark.parametrize("stray", [ODD, "stranger"])
def test_a_second_reply_does_not_count_but_is_named_with_its_bytes(run: Run, tmp_path: Path, stray: str) -> None:
    def bend(job: Job, reply: Reply) -> Iterable[Reply]:
        again = adapter(toy.A, lambda value: value + 1)(reply)[0]
        return [reply, replace(again, client=stray)] if (job.client, job.round) == (ODD, 1) else [reply]

    result = run(bend=bend, out="twice")
    plain = run(out="once")
    assert same(state(tmp_path / "twice"), state(tmp_path / "once"))
    assert [(entry["round"], entry["client"]) for entry in result["left_out"]] == [(1, stray)]
    assert "second reply" in result["left_out"][0]["error"]
    assert result["bytes"]["down"] == plain["bytes"]["down"]
    assert result["bytes"]["up"] > plain["bytes"]["up"]
    assert lines(tmp_path / "twice", "rounds.jsonl")[0]["clients"] == ["0", "1", "2"]


def test_a_second_reply_before_its_turn_does_not_harm_the_first(run: Run, tmp_path: Path) -> None:
    held: list[Reply] = []

    def bend(job: Job, reply: Reply) -> Iterable[Reply]:
        held.append(reply)
        return [held[2], held[2], held[0], held[1]] if len(held) == 3 else []

    result = run("rounds=1", bend=bend, out="twice")
    run("rounds=1", out="once")
    assert same(state(tmp_path / "twice"), state(tmp_path / "once"))
    assert [entry["client"] for entry in result["left_out"]] == ["2"]


def test_a_client_whose_job_was_never_asked_for_is_left_out(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toy.Bent, "exchange", lambda self, jobs: map(self.trainer.run, itertools.islice(jobs, 2)))
    result = run("rounds=1")
    assert [(entry["client"], entry["error"]) for entry in result["left_out"]] == [("2", "client '2' did not answer.")]
    assert lines(tmp_path / "run", "clients.jsonl")[2]["bytes_down"] == 0


def fails_in(round: int, clients: str, times: int) -> toy.Bend:
    """Those clients fail in that round, in the first ``times`` attempts."""
    left = dict.fromkeys(clients, times)

    def bend(job: Job, reply: Reply) -> Iterable[Reply]:
        if job.round == round and left.get(job.client, 0):
            left[job.client] -= 1
            return [Reply(job.client, error=f"client {job.client!r}: on strike")]
        return [reply]

    return bend


@pytest.mark.parametrize("method", ["fedavg", "scaffold", "local"])
def test_a_round_below_its_quorum_is_done_again(run: Run, tmp_path: Path, method: str) -> None:
    result = run(f"method={method}", bend=fails_in(2, "01", 1), out="again")
    plain = run(f"method={method}", out="plain")
    assert same(state(tmp_path / "again"), state(tmp_path / "plain"))
    assert result["final"] == plain["final"]
    told = {(entry["client"], entry["error"]) for entry in result["left_out"]}
    assert ("0", "client '0': on strike") in told
    assert "2" not in {client for client, _ in told}  # it did nothing wrong, and its second reply counted
    turns = [row["error"] for row in lines(tmp_path / "again", "clients.jsonl") if row["client"] == "2"]
    assert turns == ["", "round 2 was done again: 1 of 3 clients answered", ""]
    again = RunFolder(tmp_path / "plain").rows("rounds.jsonl")[1]["bytes_down"]
    assert result["bytes"]["down"] == plain["bytes"]["down"] + again  # what was sent in vain was sent


def test_below_its_quorum_twice_the_run_stops_with_what_it_has(run: Run, tmp_path: Path) -> None:
    with pytest.raises(FedloomError) as caught:
        run("method=scaffold", bend=fails_in(2, "01", 99))
    for words in ("round 2", "1 of 3", "0.5", "client '0': on strike", "client '1': on strike", "resume"):
        assert words in str(caught.value)
    assert "done again" not in str(caught.value).split("on strike")[0]
    last = RunFolder(tmp_path / "run").last()
    assert last is not None
    assert last.round == 1
    assert not (tmp_path / "run" / "result.json").exists()

    run("method=scaffold", resume=True)
    run("method=scaffold", out="plain")
    assert same(state(tmp_path / "run"), state(tmp_path / "plain"))


def test_not_one_reply_is_below_any_quorum(run: Run) -> None:
    with pytest.raises(FedloomError, match="0 of 3 clients answered"):
        run("engine.quorum=0.01", bend=lambda job, reply: [])


def test_a_smaller_cohort_takes_part_each_round(run: Run, tmp_path: Path) -> None:
    run("sampling.fraction=0.67", "rounds=6")
    cohorts = [tuple(row["clients"]) for row in lines(tmp_path / "run", "rounds.jsonl")]
    assert all(len(cohort) == 2 for cohort in cohorts)
    assert len(set(cohorts)) > 1


def test_evaluates_as_often_as_asked_and_always_at_the_end(run: Run, tmp_path: Path) -> None:
    result = run("rounds=5", "evaluation.every=2")
    scores = [row["score"] for row in lines(tmp_path / "run", "rounds.jsonl")]
    assert [score is None for score in scores] == [True, False, True, False, False]
    assert result["final"] == scores[-1]
    assert result["best"] == max(score for score in scores if score is not None)
    run("rounds=3", "evaluation.every=0", out="end")
    ended = [row["score"] for row in lines(tmp_path / "end", "rounds.jsonl")]
    assert [score is None for score in ended] == [True, True, False]


def test_a_stop_before_the_first_round_stops(run: Run, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        run(stop=lambda: True)
    last = RunFolder(tmp_path / "run").last()
    assert last is not None
    assert last.round == 0
