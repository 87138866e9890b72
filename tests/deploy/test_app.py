"""The Flower app of an experiment: a folder that Flower takes, and that says everything again as it was."""

import tomllib
from pathlib import Path

import pytest

pytest.importorskip("flwr")

from flwr.cli.config_utils import load_and_validate

from fedloom.core import config
from fedloom.deploy.app import write


def test_flower_takes_it_and_the_experiment_comes_back(tmp_path: Path) -> None:
    experiment = config.load("quickstart", ["engine.name=flower", 'task.name="icons-qa/choose_txt"'])
    write(experiment, Path("runs/here"), tmp_path / "app")
    found, warnings = load_and_validate(tmp_path / "app" / "pyproject.toml")
    settings = found["tool"]["flwr"]["app"]["config"]
    assert warnings == []
    assert config.parse(settings["experiment"], "app") == experiment
    assert settings["out"] == str(Path("runs/here").absolute())
    assert tomllib.loads((tmp_path / "app" / "pyproject.toml").read_text()) == found
