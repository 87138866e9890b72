"""The toy's experiment as a file."""

from pathlib import Path

import pytest

from tests.federation import toy


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    toy.use(monkeypatch)
    file = tmp_path / "toy.toml"
    file.write_text(toy.toml(method='name = "fedprox"\nmu = 0.5'))
    return str(file)
