"""The benchmark of the channels: its figures have their form, and its bound is that of counting."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import channel
from fedloom.core import wire
from fedloom.core.contracts import Parcel

SCRIPT = Path(channel.__file__)
STAGES = ["int8", "topk:0.01", "topk:0.01,global+int8"]


def test_figures_have_their_form(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    asked = ["--numbers", "2e5", "--stages", *STAGES, "--repeats", "1", "--json", str(file)]
    done = subprocess.run([sys.executable, str(SCRIPT), *asked], capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr  # how fast it is depends on what else runs here
    assert "checks pass" in done.stdout
    found = json.loads(file.read_text())
    assert set(found) == {"command", "machine", "versions", "cells", "checks"}
    assert [cell["stages"] for cell in found["cells"]] == STAGES
    for cell in found["cells"]:
        assert cell["numbers"] == pytest.approx(2e5, rel=0.01)
        assert cell["bytes"] == pytest.approx(cell["bytes_a_number"] * cell["numbers"])
        assert min(cell["encode_mb_s"], cell["decode_mb_s"]) > 0
        assert 0 < cell["error"] < 1
    assert [cell["information_ratio"] is None for cell in found["cells"]] == [True, False, False]
    assert [entry["what"] for entry in found["checks"]].count("information_ratio") == 2


def test_bytes_are_those_of_the_packed_message() -> None:
    tree = channel.change(20_000)
    cell = channel.run_cell(tree, "bf16", 1)
    assert cell["bytes"] == len(wire.pack(Parcel({"adapter": {"values": torch.zeros(cell["numbers"]).bfloat16()}})))


def test_the_information_of_places_is_the_logarithm_of_their_number() -> None:
    tree = {"a": torch.zeros(10, 30), "b": torch.zeros(50)}
    layer = math.log2(math.comb(300, 30) * math.comb(50, 5)) / 8
    assert channel.information(tree, "topk:0.1+int8") == pytest.approx(layer)
    assert channel.information(tree, "topk:0.1,global") == pytest.approx(math.log2(math.comb(350, 35)) / 8)
    assert channel.information(tree, "int8") is None


def test_the_checks_hold_against_their_limits() -> None:
    cells = [
        {"stages": "sign", "numbers": 9, "decode_mb_s": 199.0, "information_ratio": None},
        {"stages": "topk:0.1", "numbers": 9, "decode_mb_s": 200.0, "information_ratio": 1.11},
    ]
    assert [(entry["what"], entry["pass"]) for entry in channel.check(cells)] == [
        ("decode_mb_s", False),
        ("decode_mb_s", True),
        ("information_ratio", False),
    ]
