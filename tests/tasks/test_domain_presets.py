"""FedMLLM's presets from the command line, on small folders and with a small checkpoint of a real class."""

import json
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from fedloom import cli
from fedloom.core import config
from tests.tasks.folders import FOLDERS

PRESETS = {
    "fedmllm-hateful-memes": ("hateful-memes", 25, 2e-5),
    "fedmllm-crisismmd": ("crisismmd", 40, 2e-4),
    "fedmllm-medical": ("medical", 50, 2e-4),
}


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_has_the_paper_s_settings(preset: str) -> None:
    task, rounds, rate = PRESETS[preset]
    found = config.load(preset)
    assert (found.task.name, found.rounds, found.client.lr) == (task, rounds, rate)
    assert (found.scenario.clients, found.sampling.fraction) == (10, 0.2)
    assert (found.adapter.rank, found.adapter.alpha, found.adapter.dropout) == (8, 8.0, 0.05)
    assert (found.adapter.where, found.adapter.modules) == (["language"], ["q", "k", "v", "o"])
    assert (found.client.epochs, found.client.batch_size, found.client.weight_decay) == (1, 4, 0.1)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_runs_on_a_folder_in_the_real_layout(
    preset: str,
    tiny: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = FOLDERS[PRESETS[preset][0]](tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    sets = [f"model.name={tiny('qwen2_5_vl')}", "rounds=1", "model.max_new_tokens=4"]
    command = ["run", preset, "--data", str(folder), *(part for each in sets for part in ("--set", each))]
    monkeypatch.setattr(sys, "argv", ["fedloom", *command])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert (ended.value.code or 0) == 0, capsys.readouterr()
    (run,) = (tmp_path / "runs").iterdir()
    assert (run / "report.html").is_file()
    assert (run / "adapter").is_dir()
    assert tomllib.loads((run / "config.toml").read_text())["task"]["name"] == PRESETS[preset][0]
    result = json.loads((run / "result.json").read_text())
    assert result
