"""A script that starts workers without a ``__main__`` guard."""

import os
import subprocess
import sys
from pathlib import Path

from tests.federation import toy

ROOT = Path(__file__).parents[2]
SCRIPT = """
from pathlib import Path
from fedloom import engines
from fedloom.core import config
engines.run(config.load("toy.toml", ["engine.workers=2", "rounds=1"]), Path("run"))
"""


def test_it_is_told_so_and_not_of_memory(tmp_path: Path) -> None:
    (tmp_path / "toy.toml").write_text(
        toy.toml().replace('[model]\nname = "toy"', '[model]\nname = "tests.federation.toy:own"')
    )
    (tmp_path / "script.py").write_text(SCRIPT)
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert 'below `if __name__ == "__main__":`, or set engine.workers = 1' in done.stderr.splitlines()[-1]
    assert "memory" not in done.stderr
