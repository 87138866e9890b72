"""The benchmark of fedloom's own cost: its figures have their form, and more clients take no more memory."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import overhead
from benchmarks.idle import Idle
from fedloom.core import tree
from fedloom.core.contracts import Backbone

SCRIPT = Path(overhead.__file__)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What the command writes for 2 and 20 clients with an adapter of 1 MB, in one round."""
    file = tmp_path_factory.mktemp("overhead") / "figures.json"
    cells = ["--clients", "2", "20", "--megabytes", "1", "--rounds", "1", "--json", str(file)]
    done = subprocess.run([sys.executable, str(SCRIPT), *cells], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "20 clients / 2 clients" in done.stdout
    return dict(json.loads(file.read_text()))


def test_figures_have_their_form(found: dict[str, list[dict[str, float]]]) -> None:
    assert set(found) == {"command", "machine", "versions", "cells", "checks"}
    assert [cell["clients"] for cell in found["cells"]] == [2, 20]
    for cell in found["cells"]:
        assert cell["adapter_bytes"] == pytest.approx(1e6, rel=0.01)
        assert cell["bytes_up_client_round"] > cell["adapter_bytes"]
        assert cell["seconds_client_round"] * cell["clients"] == pytest.approx(cell["seconds"])
        assert 0 < cell["server_seconds"] < cell["seconds"]
        assert 0 < cell["start_memory_bytes"] <= cell["peak_memory_bytes"]


def test_memory_does_not_grow_with_the_clients(found: dict[str, list[dict[str, float]]]) -> None:
    few, many = (cell["peak_memory_bytes"] for cell in found["cells"])
    assert many - few < 9e6  # half of the 18 more adapters of 1 MB
    assert [entry["pass"] for entry in found["checks"]] == [True]


def test_the_check_compares_with_the_fewest_clients() -> None:
    cells = [
        {"clients": 100, "megabytes": 16.0, "peak_memory_bytes": 222},
        {"clients": 10, "megabytes": 16.0, "peak_memory_bytes": 200},
        {"clients": 10, "megabytes": 0.1, "peak_memory_bytes": 100},
    ]
    assert overhead.check(cells) == [
        {"megabytes": 16.0, "clients": [10, 100], "peak_ratio": 1.11, "limit": 1.1, "pass": False}
    ]


def test_the_idle_backbone_is_one() -> None:
    idle = Idle(0.1)
    assert isinstance(idle, Backbone)
    before = idle.read()
    idle.loss(3).mean().backward()
    idle.write(tree.add(before, before))
    assert idle.loss(3).tolist() == [0, 0, 0]
    assert tree.fingerprint(idle.read()) == tree.fingerprint({name: 2 * value for name, value in before.items()})
