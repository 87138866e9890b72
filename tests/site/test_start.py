"""``fedloom site start``: what of its options reaches the desk."""

import signal
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fedloom.cli.shell import app
from fedloom.core import config
from fedloom.site.desk import Desk
from fedloom.site.letter import Letter
from fedloom.site.worker import Worker
from tests.federation import toy


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Desk, str]]:
    """Each desk that a worker would serve, and the experiment that it would load at once."""
    found: list[tuple[Desk, str]] = []
    toy.use(monkeypatch)
    monkeypatch.setattr(Worker, "serve", lambda worker, experiment="": found.append((worker.desk, experiment)))
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)
    return found


def start(folder: Path, *more: str) -> tuple[int, str]:
    """The command's exit code, and what it says."""
    rules, file = folder / "site.toml", folder / "agreed.toml"
    rules.write_text('code = ["tests.federation.toy:*"]\n')
    file.write_text(toy.toml())
    given = ["--name", "1", "--state", str(folder / "state"), "--rules", str(rules)]
    done = CliRunner().invoke(app, ["site", "start", *given, *more])
    return done.exit_code, f"{done.output} {done.exception}"


def test_without_only_it_takes_part_in_what_its_rules_allow(tmp_path: Path, started: list[tuple[Desk, str]]) -> None:
    assert start(tmp_path, "--for", str(tmp_path / "agreed.toml"))[0] == 0
    ((desk, at_once),) = started
    assert (desk.only, at_once) == ("", config.dump(toy.experiment()))
    for experiment in (toy.experiment(), toy.experiment("rounds=3")):
        assert desk.answer(Letter("hello", "run1", "h", experiment=config.dump(experiment))).error == ""


def test_with_only_it_takes_part_in_the_agreed_experiment_alone(
    tmp_path: Path, started: list[tuple[Desk, str]]
) -> None:
    assert start(tmp_path, "--for", str(tmp_path / "agreed.toml"), "--only")[0] == 0
    ((desk, at_once),) = started
    assert desk.only == at_once == config.dump(toy.experiment())
    agreed, other = (Letter("hello", "run1", "h", experiment=config.dump(toy.experiment(*s))) for s in ([], ["seed=1"]))
    assert desk.answer(agreed).error == ""
    assert desk.answer(other).error.endswith("takes part in one experiment only, and this is another (--only).")
    assert desk.loads == 1


def test_only_without_an_experiment_is_refused(tmp_path: Path, started: list[tuple[Desk, str]]) -> None:
    code, said = start(tmp_path, "--only")
    assert code != 0
    assert "--only: say which experiment with --for." in said
    assert started == []
