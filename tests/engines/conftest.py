"""What rehearsals with real processes share."""

from pathlib import Path

import pytest

from tests.engines import sited

ROOT = Path(__file__).parents[2]


@pytest.fixture
def own_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Every process finds the toy, and notes its loads in the file that this returns."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv(sited.LOADS, str(tmp_path / "loads"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "loads"
