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
