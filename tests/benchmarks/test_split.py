"""The benchmark of the split: its figures have their form, and the errors it finds are small."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("grpc")

from benchmarks import split

SCRIPT = Path(split.__file__)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the command writes for the smallest size; whether limits of time are kept is not asked."""
    file = tmp_path_factory.mktemp("split") / "figures.json"
    given = ["--size", "tiny", "--steps", "2", "--clients", "0", "--json", str(file)]
    done = subprocess.run([sys.executable, str(SCRIPT), *given], capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    assert "one client, a step" in done.stdout
    return dict(json.loads(file.read_text()))


def test_figures_have_their_form(found: dict[str, Any]) -> None:
    assert set(found) == {"command", "machine", "versions", "steps", "clients", "checks"}
    assert [row["way"] for row in found["steps"]][:2] == ["whole", "full, shared, fp32"]
    assert len(found["steps"]) == 1 + len(split.WAYS)


def test_every_gradient_is_within_its_limit(found: dict[str, Any]) -> None:
    errors = [one for one in found["checks"] if one["what"].endswith("error")]
    assert len(errors) == 6
    assert all(one["pass"] for one in errors)


def test_bytes_are_those_of_what_travels(found: dict[str, Any]) -> None:
    """4 rows of 16 + 23 places: whole embeddings of width 64; or codes of rank 8, and U [64, 8] of two adapters."""
    sent = {row["way"]: row["again"] for row in found["steps"] if "again" in row}
    full, low = 4 * 39 * 64 * 4, (4 * 39 * 8 + 2 * 64 * 8) * 4
    for way in ("up", "down"):
        assert full < sent["full, shared, fp32"][way] < full + 1000
        assert low < sent["low-rank, shared, fp32"][way] < low + 1500
    assert sent["full, shared, bf16"]["up"] < full / 2 + 1000
    assert sent["full, shared, int8"]["up"] < full / 4 * (1 + 2 / 64) + 1000


def test_clients_at_once_and_apart_are_counted(tmp_path: Path) -> None:
    found = split.many_clients("tiny", split.SIZES["tiny"], split.prepared(tmp_path), clients=2, steps=2)
    assert found["clients"] == 2
    assert found["ratio"] == pytest.approx(found["at once"] / found["apart"])


def test_a_limit_that_is_missed_is_told() -> None:
    rows = [{"size": "nano", "way": "full, shared, fp32", "ratio": 1.31, "error": 2e-5}]
    crowds = [{"size": "nano, small steps", "clients": 8, "ratio": 1.9}, {"size": "nano", "clients": 8, "ratio": 1.0}]
    assert [one["pass"] for one in split.check(rows, crowds)] == [False, False, False, True]
