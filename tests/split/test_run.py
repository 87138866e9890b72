"""Runs whose language model is behind the boundary: the same result, and every byte that crosses it counted."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from fedloom import engines
from fedloom.core import wire
from fedloom.core.contracts import Job, Parcel, Tree
from fedloom.core.errors import FedloomError
from fedloom.federation.client import Trainer
from fedloom.federation.kept import Kept
from fedloom.federation.setup import Setup
from tests.federation import toy
from tests.split import shown
from tests.split.split import error

Tiny = Callable[[str], Path]


def run(tiny: Tiny, folder: Path, *sets: str) -> tuple[dict[str, Any], Tree]:
    result = engines.run(shown.experiment(tiny("llava"), *sets), folder)
    return result, load_file(folder / "adapter" / "adapter_model.safetensors")


@pytest.mark.parametrize("method", ["fedavg", "fednano", "fednano-ef"])
def test_a_split_run_ends_in_the_adapter_of_the_whole_one(method: str, tiny: Tiny, tmp_path: Path) -> None:
    whole, expected = run(tiny, tmp_path / "whole", f"method={method}")
    assert (whole["bytes"]["split_up"], whole["bytes"]["split_down"]) == (0, 0)
    ways = [("full", "shared"), ("full", "private"), ("low-rank", "private")] if method == "fedavg" else []
    for way, labels in [("low-rank", "shared"), *ways]:
        sets = [f"split.wire={way}", f"split.labels={labels}", f"method={method}"]
        result, found = run(tiny, tmp_path / f"{way}-{labels}", *sets)
        assert error(found, expected) < 1e-4  # AdamW moves by the sign where a gradient is all but zero
        assert result["final"] == whole["final"]
        assert result["bytes"]["split_up"] > 0 < result["bytes"]["split_down"]


def test_the_bytes_of_a_run_are_those_of_its_turns(tiny: Tiny, tmp_path: Path) -> None:
    result, _ = run(tiny, tmp_path / "run", "split.wire=full")
    assert result["parameters"]["client"] < result["parameters"]["total"]
    rows = [json.loads(line) for line in (tmp_path / "run" / "clients.jsonl").read_text().splitlines()]
    assert all(row["split_up"] > 0 for row in rows)
    for way in ("split_up", "split_down"):
        assert result["bytes"][way] == sum(row[way] for row in rows)
    setup = Setup(shown.experiment(tiny("llava"), "split.wire=full"))
    reply = Trainer(setup, Kept(tmp_path / "kept")).run(Job(1, "0", wire.pack(Parcel({"adapter": {}}))))
    first = next(row for row in rows if (row["round"], row["client"]) == (1, "0"))
    facts = wire.unpack(reply.parcel, max_bytes=1 << 20).facts
    assert (facts["split_up"], facts["split_down"]) == (first["split_up"], first["split_down"])


def test_clients_that_answer_themselves_have_their_traffic_counted_too(tiny: Tiny, tmp_path: Path) -> None:
    result, _ = run(tiny, tmp_path / "run", "split.wire=full", "evaluation.where=clients")
    rows = [json.loads(line) for line in (tmp_path / "run" / "clients.jsonl").read_text().splitlines()]
    assert result["bytes"]["split_up"] > sum(row["split_up"] for row in rows)


def test_the_fingerprint_is_that_of_the_two_halves(tiny: Tiny) -> None:
    whole = Setup(shown.experiment(tiny("llava")))
    split = Setup(shown.experiment(tiny("llava"), "split.wire=full"))
    assert len(split.backbone.fingerprint) == 64
    assert split.backbone.fingerprint != whole.backbone.fingerprint


def test_a_reply_that_lies_about_its_traffic_is_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    toy.use(monkeypatch)

    def bend(job: Job, reply: Any) -> list[Any]:
        parcel = wire.unpack(reply.parcel, max_bytes=1 << 20)
        if job.client == "1":
            parcel.facts["split_up"] = -5
        return [type(reply)(reply.client, wire.pack(parcel))]

    monkeypatch.setattr(toy, "BEND", [bend])
    result = engines.run(toy.experiment(toy.BENT, "rounds=1"), tmp_path / "run")
    assert [entry["client"] for entry in result["left_out"]] == ["1"]
    assert "split_up" in result["left_out"][0]["error"]


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        (["model.name=nano-clip", "split.wire=full", "adapter.kind=lora"], "has no language model"),
        (["adapter.kind=lora", "split.wire=full"], "Leave 'language' out"),
        ([f"model.name={toy.HERE}:load", "split.wire=full"], "a backbone of your own"),
        (["split.wire=half"], "split.wire"),
        (["split.labels=hidden"], "split.labels"),
        (["split.numbers=fp8"], "split.numbers"),
        (["method=stacking"], "needs LoRA pairs beside weights.*adapter.kind = .nano. does not have"),
    ],
)
def test_what_cannot_be_is_refused(sets: list[str], words: str, tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(FedloomError, match=words):
        run(tiny, tmp_path / "run", *sets)


def test_nothing_of_it_depends_on_torchs_own_stream(tiny: Tiny, tmp_path: Path) -> None:
    torch.manual_seed(1)
    _, first = run(tiny, tmp_path / "a", "split.wire=low-rank")
    torch.manual_seed(2)
    _, second = run(tiny, tmp_path / "b", "split.wire=low-rank")
    assert error(second, first) == 0
