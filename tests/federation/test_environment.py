import json
import platform
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fedloom.federation.environment import FILE, command
from tests.federation import toy
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


def test_the_commit_of_a_model_of_the_hub_is_told(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run()
    folder = tmp_path / "run"
    assert "commit" not in json.loads((folder / FILE).read_text())
    assert "commit on the hub" not in (folder / "adapter" / "README.md").read_text()
    monkeypatch.setattr(toy.Toy, "commit", "a" * 40, raising=False)
    (folder / "result.json").unlink()
    run(resume=True)  # which files there are decides whether it is the same model, not where they came from
    assert json.loads((folder / FILE).read_text().splitlines()[1])["commit"] == "a" * 40
    assert f"| base model's commit on the hub | {'a' * 40} |" in (folder / "adapter" / "README.md").read_text()


def test_an_older_folder_without_it_is_resumed(run: Run, tmp_path: Path) -> None:
    found = run()
    for name in ("result.json", FILE, "baselines.json"):
        (tmp_path / "run" / name).unlink()
    assert run(resume=True)["final"] == found["final"]
    assert len((tmp_path / "run" / FILE).read_text().splitlines()) == 1
