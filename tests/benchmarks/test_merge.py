"""The benchmark of merges: its figures have their form, its two sides agree, and its checks judge as they should."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import merge

SCRIPT = Path(merge.__file__)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the command writes at small sizes."""
    file = tmp_path_factory.mktemp("merge") / "figures.json"
    command = [sys.executable, str(SCRIPT), "--quick", "--repeats", "2", "--json", str(file)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "error of the mean" in done.stdout
    return dict(json.loads(file.read_text()))


def test_figures_have_their_form(found: dict[str, Any]) -> None:
    assert set(found) == {"command", "machine", "versions", "threads", "quick", "products", "adapters", "checks"}
    assert [cell["side"] for cell in found["products"]["cells"]] == ["qr", "float32", "float64"]
    assert all(cell["seconds"] > 0 and cell["memory_bytes"] > 0 for cell in found["products"]["cells"])
    fold = found["adapters"]
    assert fold["adapter_bytes"] == 2 * 2 * 2 * 8 * 256 * 4  # layers, q and v, A and B, rank, width, bytes
    assert len(fold["mean_bytes_second_runs"]) == fold["repeats"] == 2
    assert 0 < fold["copy_bytes_second"] <= fold["copy_bytes_second_best"]


def test_small_sizes_are_judged_by_their_results_alone(found: dict[str, Any]) -> None:
    assert len(found["checks"]) == 4
    assert all(entry["limit"] == 1e-5 and 0 <= entry["value"] < 1e-5 and entry["pass"] for entry in found["checks"])


def test_both_sides_give_the_best_product() -> None:
    parts = merge.factors(24, 3, 2)
    dense = sum((w * b.double() @ a.double() for w, a, b in parts), torch.zeros(24, 24))
    u, s, v = torch.linalg.svd(dense)
    best = (u[:, :2] * s[:2]) @ v[:2]
    for a, b in (merge.through_qr(parts, 2), merge.through_dense(parts, 2, torch.float64)):
        assert (b.double() @ a.double() - best).norm() < 1e-6 * best.norm()


def test_the_difference_is_that_of_the_products() -> None:
    stream = torch.Generator().manual_seed(7)
    a, b, c, d = (torch.randn(shape, generator=stream) for shape in [(2, 9), (9, 2)] * 2)
    by_hand = (b @ a - 3 * d @ c).norm() / (3 * d @ c).norm()
    assert merge.difference((a, b), (3 * c, d)) == pytest.approx(float(by_hand), rel=1e-5)
    assert merge.difference((a, b), (2 * a, b / 2)) < 1e-7


def test_the_checks_hold_each_figure_to_its_limit() -> None:
    cells = [
        {"side": "qr", "seconds": 0.5, "memory_bytes": 10},
        {"side": "float32", "seconds": 249.0, "memory_bytes": 100, "difference": 2e-5},
    ]
    fold = {"mean_bytes_second": 6.0, "copy_bytes_second": 10.0, "error": 1e-7}
    found = {"quick": False, "products": {"cells": cells, "stack_error": 0.0}, "adapters": fold}
    checks = merge.check(found)
    assert [entry["value"] for entry in checks] == pytest.approx([498, 10, 2e-5, 0, 0.6, 1e-7])
    assert [entry["pass"] for entry in checks] == [False, True, False, True, True, True]
