"""What the README shows is true: its experiment loads, and its commands are understood."""

import itertools
import re
import shlex
from pathlib import Path

import pytest

from fedloom.cli import app
from fedloom.core import config
from fedloom.federation.check import check_experiment
from fedloom.sweep.cells import comparison

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The README's own experiment, as the file that its commands name."""
    (block,) = re.findall(r"```toml\n(.*?)```", README, flags=re.S)
    file = tmp_path / "my.toml"
    file.write_text(block)
    monkeypatch.chdir(tmp_path)
    return file


def commands() -> list[list[str]]:
    """Every line of a block that calls fedloom, without its comment."""
    lines = [line for block in README.split("```")[1::2] for line in block.splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("fedloom ")]


def test_its_experiment_passes_every_check(mine: Path) -> None:
    check_experiment(config.load(mine))


def test_there_are_commands() -> None:
    assert {words[0] for words in commands()} >= {"run", "compare", "report", "tasks", "scenarios"}


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_its_commands_are_understood(words: list[str], mine: Path) -> None:
    """Each names a real command, whose overrides and axes load and pass every check."""
    known = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    assert words[0] in known | {"tasks", "scenarios"}
    sets = [value for option, value in itertools.pairwise(words) if option == "--set"]
    axes = [value for option, value in itertools.pairwise(words) if option == "--axis"]
    if words[0] == "compare":
        assert len(comparison(words[1], sets, axes, seeds=1).cells()) > 1
    elif words[0] == "scenarios":
        own = words[2].endswith(".toml")
        source, more = (words[2], []) if own else ("quickstart", [f"scenario={words[2]}"])
        check_experiment(config.load(source, [*more, *sets]))
    elif words[0] == "run" and words[1] == "my.toml":
        check_experiment(config.load(words[1], sets))


def test_nothing_is_left_to_fill_in_and_every_link_leads_somewhere() -> None:
    assert "@@" not in README
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("https://") or (ROOT / target).exists(), target
