"""Channels in a federation: the bytes counted were sent, the server has what was sent, and what is bent is left out."""

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fedloom import engines
from fedloom.core import tree, wire
from fedloom.core.contracts import Job, Parcel, Reply, Tree
from fedloom.federation import client, messages
from fedloom.federation.record import RunFolder
from fedloom.federation.round import Stopped
from fedloom.federation.setup import Setup
from tests.federation import toy

STACKS = [
    ["feedback", "topk:0.1", "int8"],
    ["feedback", "sign"],
    ["lowrank:1"],
    ["sign"],
    ["nf:2"],
    ["random-mask:0.5,global", "int4"],
]
each = pytest.mark.parametrize("stages", STACKS, ids=" ".join)
Run = Callable[..., dict[str, Any]]
ODD = "1"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """``run(stages, "method=scaffold", bend=..., out="a")``: a whole run with that channel into ``tmp_path / out``."""

    def whole(
        stages: list[str], *sets: str, bend: toy.Bend | None = None, out: str = "run", **options: Any
    ) -> dict[str, Any]:
        toy.BEND[:] = [bend] if bend else []
        made = toy.experiment(toy.BENT, f"channel.up={json.dumps(stages)}", *sets)
        return engines.run(made, tmp_path / out, **options)

    return whole


def state(folder: Path) -> dict[str, Tree]:
    last = RunFolder(folder).last()
    assert last is not None
    return last.state


def prints(folder: Path) -> dict[str, str]:
    """Every tree of the server's state, and all that the clients keep."""
    kept = {str(f.relative_to(folder)): f.read_bytes().hex() for f in folder.glob("checkpoint/clients/*/*")}
    return {slot: tree.fingerprint(held) for slot, held in state(folder).items()} | kept


@each
def test_the_bytes_counted_are_those_of_the_messages(run: Run, tmp_path: Path, stages: list[str]) -> None:
    sent: dict[tuple[int, str], Reply] = {}

    def note(job: Job, reply: Reply) -> Iterable[Reply]:
        sent[job.round, job.client] = reply
        return [reply]

    result = run(stages, bend=note)
    rows = RunFolder(tmp_path / "run").rows("clients.jsonl")
    assert len(rows) == len(sent) == 6
    for row in rows:
        blob = sent[row["round"], row["client"]].parcel
        assert row["error"] == ""
        assert row["bytes_up"] == len(blob) == sum(row["parts_up"].values())
        assert row["parts_up"] == wire.sizes(blob)
    assert result["bytes"]["up"] == sum(len(reply.parcel) for reply in sent.values())


def test_what_each_part_of_a_message_takes(run: Run, tmp_path: Path) -> None:
    run(["feedback", "topk:0.1", "int8"], "rounds=1")
    parts = RunFolder(tmp_path / "run").rows("clients.jsonl")[0]["parts_up"]
    # one of A's 8 entries and one of B's 4: a code each, one scale in bfloat16, header and bitmap of 12 bits
    assert {name: size for name, size in parts.items() if name != "header"} == {
        "adapter": 2,
        "adapter.format.scales": 2,
        "adapter.mask.indices": 1 + 2,
    }


@each
def test_the_server_sees_the_start_plus_what_was_decoded(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stages: list[str]
) -> None:
    trained: list[Tree] = []

    def spy(slots: dict[str, Tree], *rest: Any) -> Any:
        trained.append({name: value.clone() for name, value in slots["adapter"].items()})
        return messages.coded_reply(slots, *rest)

    monkeypatch.setattr(client, "coded_reply", spy)
    run(stages, "rounds=1", "scenario.clients=1")
    setup = Setup(toy.experiment(f"channel.up={json.dumps(stages)}"))
    start, up = setup.initial, setup.up
    seed = setup.seeds.number("round/1/client/0/channel")
    change = {name: value - start[name] for name, value in trained[0].items()}
    seen = up.decode(up.encode(change, start, change=True, seed=seed), start, change=True)
    expected = {name: value + seen[name] for name, value in start.items()}
    assert tree.fingerprint(state(tmp_path / "run")["adapter"]) == tree.fingerprint(expected)
    assert tree.fingerprint(expected) != tree.fingerprint(trained[0])  # something was lost, or nothing is tested


@each
@pytest.mark.parametrize("replies", [2, 6])
def test_a_resumed_run_has_the_same_bits(run: Run, tmp_path: Path, stages: list[str], replies: int) -> None:
    run(stages, "rounds=3", out="whole")
    asked = iter(range(10**6))
    with pytest.raises(Stopped):
        run(stages, "rounds=3", out="stopped", stop=lambda: next(asked) >= replies)
    run(stages, "rounds=3", out="stopped", resume=True)
    whole = prints(tmp_path / "whole")
    assert prints(tmp_path / "stopped") == whole
    assert any("clients" in name for name in whole) == ("feedback" in stages)


def test_what_was_lost_in_the_first_round_is_added_in_the_second(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns: list[tuple[Tree, Tree]] = []  # each turn's own change and what was sent, as vectors; A comes before B

    def spy(slots: dict[str, Tree], start: Tree, *rest: Any) -> Any:
        coded, left = messages.coded_reply(slots, start, *rest)
        own = {name: (value - start[name]).reshape(-1) for name, value in slots["adapter"].items()}
        turns.append((own, dict(zip((toy.A, toy.B), coded.trees["adapter"]["values"].split(1), strict=True))))
        return coded, left

    monkeypatch.setattr(client, "coded_reply", spy)
    run(["feedback", "topk:0.1"], "rounds=4", "scenario.clients=1")
    owed = {name: torch.zeros_like(value) for name, value in turns[0][0].items()}
    for own, sent in turns:
        for name, value in own.items():
            wanted = value + owed[name]
            place = wanted.abs().argmax()
            assert sent[name].item() == wanted[place].item()
            owed[name] = wanted.clone()
            owed[name][place] = 0.0
    kept = RunFolder(tmp_path / "run").kept.read("0", 4)["feedback"]
    assert {name: value.reshape(-1).tolist() for name, value in kept.items()} == {
        n: v.tolist() for n, v in owed.items()
    }


def test_control_variates_pass_by_the_stages_for_changes(run: Run, tmp_path: Path) -> None:
    seen: list[Parcel] = []

    def note(job: Job, reply: Reply) -> Iterable[Reply]:
        seen.append(wire.unpack(reply.parcel, max_bytes=2**20))
        return [reply]

    run(["topk:0.1"], "method=scaffold", "rounds=1", out="masked", bend=note)
    assert all(parcel.trees["adapter"]["values"].numel() == 2 for parcel in seen)
    assert all(parcel.trees["control"].keys() == {toy.A, toy.B} for parcel in seen)
    run([], "method=scaffold", "rounds=1", out="plain")
    masked, plain = (state(tmp_path / out) for out in ("masked", "plain"))
    assert tree.fingerprint(masked["control"]) == tree.fingerprint(plain["control"])
    assert tree.fingerprint(masked["adapter"]) != tree.fingerprint(plain["adapter"])


INDICES = "mask.indices"
BENT: dict[str, tuple[list[str], Callable[[Tree], Tree], str]] = {
    "an index outside": (
        ["topk:0.1"],
        lambda sent: sent | {INDICES: torch.tensor([255, 0b10000000, 0b00000001], dtype=torch.uint8)},
        "the indices are 2 up to 15, expected 2 below 12",
    ),
    "a stream cut short": (
        ["topk:0.1"],
        lambda sent: sent | {INDICES: torch.tensor([2, 0b10000000], dtype=torch.uint8)},
        "the indices are a stream of 0 in 0 bytes, expected 2 below 12",
    ),
    "no indices": (["topk:0.1"], lambda sent: {"values": sent["values"]}, "the indices are missing"),
    "a share of its own": (["topk:0.1"], lambda sent: sent | {"values": torch.ones(12)}, "the values of 'topk'"),
    "a seed of no stream": (
        ["random-mask"],
        lambda sent: sent | {"mask.seed": torch.tensor([-7])},
        "the seed of 'random-mask' is -7",
    ),
    "codes cut short": (["nf:2"], lambda sent: sent | {"values": sent["values"][:-1]}, "the values of 'nf'"),
    "another rank": (["lowrank:1"], lambda sent: sent | {"values": torch.ones(99)}, "the values of 'lowrank'"),
    "a scale of infinity": (
        ["int8"],
        lambda sent: sent | {"format.scales": torch.full((1,), torch.inf, dtype=torch.bfloat16)},
        "infinity",
    ),
    "codes that overflow": (
        ["lowrank:1"],
        lambda sent: sent | {"values": torch.full_like(sent["values"], 3e38)},
        "infinity",
    ),
}


@pytest.mark.parametrize("case", BENT)
def test_a_bent_message_is_left_out_with_its_reason_and_the_run_goes_on(run: Run, tmp_path: Path, case: str) -> None:
    stages, bend, words = BENT[case]

    def bent(job: Job, reply: Reply) -> Iterable[Reply]:
        if (job.client, job.round) != (ODD, 1):
            return [reply]
        parcel = wire.unpack(reply.parcel, max_bytes=2**20)
        parcel.trees["adapter"] = bend(parcel.trees["adapter"])
        return [replace(reply, parcel=wire.pack(parcel))]

    result = run(stages, bend=bent, out="bent")
    run(stages, bend=lambda job, reply: [] if (job.client, job.round) == (ODD, 1) else [reply], out="absent")
    (entry,) = result["left_out"]
    assert (entry["round"], entry["client"]) == (1, ODD)
    assert words in entry["error"]
    assert prints(tmp_path / "bent") == prints(tmp_path / "absent")


def test_a_client_left_out_keeps_no_memory_of_that_round(run: Run, tmp_path: Path) -> None:
    def cut(job: Job, reply: Reply) -> Iterable[Reply]:
        return [replace(reply, parcel=reply.parcel[:-1])] if job.client == ODD else [reply]

    run(["feedback", "topk:0.1"], bend=cut)
    folder = RunFolder(tmp_path / "run")
    counted = folder.counted(1)
    assert "feedback" in folder.kept.read("0", counted["0"])
    assert ODD not in counted
