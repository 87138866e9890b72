"""Every file in examples/ runs as its docstring says, and ends with figures."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))

PRINTED = {
    "federate_by_hand": [rf"after {number} rounds: loss \d\.\d{{3}}, accuracy \d\.\d{{3}}" for number in range(3)],
    "own_method": [
        r"fedavg +0\.\d{3} before, \d\.\d{3} after",
        r"own_method:cautious +0\.\d{3} before, \d\.\d{3} after",
    ],
    "skewed_labels_and_modalities": [r"3 clients hold pictures alone, 7 texts alone"],
    "own_task": [r"client 0: \d+ pictures", r"client 1: \d+ pictures", r"accuracy \d\.\d{3} before, \d\.\d{3} after"],
}


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_an_example_runs_as_its_docstring_says(file: Path, tmp_path: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert f"\n    python examples/{file.name}" in text
    assert '\nif __name__ == "__main__":' in text
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, file], cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if re.search(r"\d\.\d{3}|pictures", line)]
    assert len(lines) == len(PRINTED[file.stem])
    assert all(re.fullmatch(pattern, line) for pattern, line in zip(PRINTED[file.stem], lines, strict=True))
    assert list(tmp_path.iterdir()) == []  # nothing is left behind


def test_every_example_is_known() -> None:
    assert [file.stem for file in EXAMPLES] == sorted(PRINTED)
