import json
import platform
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fedloom.federation.environment import FILE, command
from tests.federation.conftest import Run


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["/usr/bin/fedloom", "run", "quickstart", "--set", "rounds=2"], "fedloom run quickstart --set rounds=2"),
        (["/x/fedloom/cli/__main__.py", "run", "my file.toml"], "fedloom run 'my file.toml'"),
        (["/usr/bin/flwr-serverapp", "--token", "secret"], "flwr-serverapp"),
        (["sweep.py", "--key", "secret"], "sweep.py"),
        (["-c"], "python"),
        ([""], "python"),
    ],
)
def test_only_fedlooms_own_arguments_are_written_down(argv: list[str], told: str) -> None:
    assert command(argv) == told


def test_every_start_is_a_line(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["fedloom", "run", "toy.toml"])
    run()
    (tmp_path / "run" / "result.json").unlink()
    run(resume=True)
    first, second = (json.loads(line) for line in (tmp_path / "run" / FILE).read_text().splitlines())
    assert first["command"] == second["command"] == "fedloom run toy.toml"
    assert first["device"].startswith("cpu, ")
    assert first["versions"]["python"] == platform.python_version()
    assert timedelta() <= datetime.now(UTC) - datetime.fromisoformat(first["date"]) < timedelta(minutes=5)


def test_an_older_folder_without_it_is_resumed(run: Run, tmp_path: Path) -> None:
    found = run()
    for name in ("result.json", FILE, "baselines.json"):
        (tmp_path / "run" / name).unlink()
    assert run(resume=True)["final"] == found["final"]
    assert len((tmp_path / "run" / FILE).read_text().splitlines()) == 1
