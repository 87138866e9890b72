"""The benchmark of a client's memory: a client without the language model holds less."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("grpc")

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "client_memory.py"


def test_a_client_without_the_language_model_holds_less(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    given = ["--client", "whole", "low-rank", "--steps", "2", "--json", str(file)]
    done = subprocess.run([sys.executable, str(SCRIPT), *given], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    whole, apart = json.loads(file.read_text()).values()
    less = whole["parameters"] - apart["parameters"]
    assert less > 10**6
    assert apart["peak_bytes"] < whole["peak_bytes"] - 4 * less / 2  # its weights are in float32
