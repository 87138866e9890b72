"""Every test of this room runs on the toy."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fedloom import engines
from fedloom.federation.round import Stopped
from tests.federation import folders, toy

Run = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def _toy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    toy.use(monkeypatch)
    toy.BEND.clear()
    yield
    toy.BEND.clear()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """``run("method=scaffold", bend=..., out="a")``: a whole run with the bent engine into ``tmp_path / out``."""

    def whole(*sets: str, bend: toy.Bend | None = None, out: str = "run", **options: Any) -> dict[str, Any]:
        toy.BEND[:] = [bend] if bend else []
        return engines.run(toy.experiment(toy.BENT, *sets), tmp_path / out, **options)

    return whole


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ``whole`` run, and one that was ``stopped`` in the middle of round 4."""
    from tests.federation.test_record import after

    root = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        toy.use(patch)
        folders.run(root / "whole")
        with pytest.raises(Stopped):
            folders.run(root / "stopped", stop=after(3 * 4 + 2))
    return root
