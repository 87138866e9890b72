"""Replies that are made to break the server cost their sender's turn, and no more."""

import json
import struct
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fedloom.core import wire
from fedloom.core.contracts import Job, Parcel, Reply
from fedloom.federation.record import RunFolder


def absurd_offsets(blob: bytes) -> bytes:
    """A header whose numbers are no offsets."""
    (length,) = struct.unpack("<Q", blob[:8])
    header = json.loads(blob[8 : 8 + length])
    next(value for name, value in header.items() if name != "__metadata__")["data_offsets"] = [0, -5_000_000]
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + blob[8 + length :]


def odd(**tensors: torch.Tensor) -> Callable[[bytes], bytes]:
    """The reply with other tensors in slot ``adapter``."""

    def bend(blob: bytes) -> bytes:
        parcel = wire.unpack(blob, max_bytes=10**6)
        return wire.pack(Parcel({"adapter": {n.replace("__", "."): t for n, t in tensors.items()}}, parcel.facts))

    return bend


@pytest.mark.parametrize(
    "bent",
    [
        absurd_offsets,
        odd(exact__a=torch.zeros(7)),
        odd(values=torch.zeros(2), layout=torch.tensor(2**50)),
        odd(values=torch.zeros(0, dtype=torch.bfloat16)),
        odd(),
    ],
    ids=["offsets", "exact", "layout", "empty", "nothing"],
)
def test_it_is_left_out_and_the_round_goes_on(
    run: Callable[..., dict[str, Any]], tmp_path: Path, bent: Callable[[bytes], bytes]
) -> None:
    def bend(job: Job, reply: Reply) -> Iterable[Reply]:
        return [replace(reply, parcel=bent(reply.parcel))] if job.client == "1" else [reply]

    result = run('channel.up=["bf16"]', bend=bend, out="bent")
    assert {entry["client"] for entry in result["left_out"]} == {"1"}
    lines = RunFolder(tmp_path / "bent").rows("clients.jsonl")
    assert all(line["bytes_up"] == sum(line["parts_up"].values()) > 0 for line in lines)
    assert [line["client"] for line in lines if not line["error"]] == ["0", "2"] * 2


def header(change: Callable[[dict[str, Any], dict[str, Any]], None]) -> Callable[[bytes], bytes]:
    """The reply with another header: its entries, and fedloom's own part."""

    def bend(blob: bytes) -> bytes:
        (length,) = struct.unpack("<Q", blob[:8])
        entries = json.loads(blob[8 : 8 + length])
        own = json.loads(entries["__metadata__"]["fedloom"])
        change(entries, own)
        entries["__metadata__"]["fedloom"] = json.dumps(own)
        text = json.dumps(entries).encode()
        return struct.pack("<Q", len(text)) + text + blob[8 + length :]

    return bend


def long_slots(entries: dict[str, Any], own: dict[str, Any]) -> None:
    own["slots"] = "x" * 300_000


def long_fact(entries: dict[str, Any], own: dict[str, Any]) -> None:
    own["facts"]["steps"] = "\x1b[31m" * 50_000


def long_name(entries: dict[str, Any], own: dict[str, Any]) -> None:
    entries["adapter/" + "x" * 300_000] = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}


def many_slots(entries: dict[str, Any], own: dict[str, Any]) -> None:
    own["slots"] += [f"slot{number}" for number in range(3_000)]
    entries |= {f"{slot}/x": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for slot in own["slots"][1:]}


@pytest.mark.parametrize("change", [long_slots, long_fact, long_name, many_slots])
def test_what_it_says_without_end_is_written_nowhere(
    run: Callable[..., dict[str, Any]], tmp_path: Path, change: Callable[[dict[str, Any], dict[str, Any]], None]
) -> None:
    bent = header(change)

    def bend(job: Job, reply: Reply) -> Iterable[Reply]:
        return [replace(reply, parcel=bent(reply.parcel))] if job.client == "1" else [reply]

    result = run(bend=bend, out="bent")
    assert {entry["client"] for entry in result["left_out"]} <= {"1"}
    assert all(len(entry["error"]) < 1_200 for entry in result["left_out"])
    for name in ("clients.jsonl", "rounds.jsonl", "result.json"):
        assert (tmp_path / "bent" / name).stat().st_size < 16_000
    line = RunFolder(tmp_path / "bent").rows("clients.jsonl")[1]
    assert line["parts_up"] == {"unreadable": line["bytes_up"]} or len(line["parts_up"]) == 2
