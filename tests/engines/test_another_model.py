"""A run goes on with the model that it began with, or not at all; what it hands on opens that model."""

import json
import re
import shutil
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedloom import engines
from fedloom.core.errors import FedloomError
from fedloom.federation.record import RunFolder
from fedloom.federation.round import Stopped
from tests.federation.test_record import after
from tests.split import shown

Tiny = Callable[[str], Path]

CHANGES: dict[str, tuple[str, Callable[[dict[str, Any]], object]]] = {
    "image_mean": ("processor_config.json", lambda said: said["image_processor"].update(image_mean=[0, 0, 0])),
    "a setting": ("config.json", lambda said: said["text_config"].update(rms_norm_eps=0.1)),
    "a word": ("tokenizer.json", lambda said: said["model"]["vocab"].update(_swapped(said["model"]["vocab"]))),
}


def _swapped(words: dict[str, int]) -> dict[str, int]:
    return {"red": words["blue"], "blue": words["red"]}


@pytest.mark.parametrize("wire", ["none", "full"])
def test_a_run_on_another_processor_configuration_or_tokenizer_is_refused_naming_the_file(
    wire: str, tiny: Tiny, tmp_path: Path
) -> None:
    model = Path(shutil.copytree(tiny("llava"), tmp_path / "model"))
    experiment = shown.experiment(model, "rounds=2", f"split.wire={wire}")
    with pytest.raises(Stopped):
        engines.run(experiment, tmp_path / "run", stop=after(1))
    for file, change in CHANGES.values():
        before = (model / file).read_text()
        said = json.loads(before)
        change(said)
        (model / file).write_text(json.dumps(said))
        with pytest.raises(
            FedloomError, match=rf"the model \(its {re.escape(file)}.*\) is not what this run began with"
        ):
            engines.run(experiment, tmp_path / "run", resume=True)
        with pytest.raises(FedloomError, match=rf"is not the model \(its {re.escape(file)}.*\) that it trained"):
            engines.export(tmp_path / "run", tmp_path / "adapter")
        (model / file).write_text(before)
    assert engines.run(experiment, tmp_path / "run", resume=True)["rounds"] == 2


def test_a_run_folder_of_an_earlier_release_opens(tiny: Tiny, tmp_path: Path) -> None:
    """It kept the hash of the weights alone."""
    experiment = shown.experiment(tiny("llava"), "rounds=2")
    with pytest.raises(Stopped):
        engines.run(experiment, tmp_path / "run", stop=after(1))
    folder = RunFolder(tmp_path / "run")
    last = folder.last()
    assert last is not None
    old = {key: value for key, value in last.facts.items() if not key.startswith("model: ")}
    folder.save(replace(last, facts={**old, "model": last.facts["model: weights"]}))
    engines.export(tmp_path / "run", tmp_path / "adapter")
    assert engines.run(experiment, tmp_path / "run", resume=True)["rounds"] == 2


def test_the_exported_card_says_where_the_base_is_and_where_the_adapter_lies(tiny: Tiny, tmp_path: Path) -> None:
    engines.run(shown.experiment(tiny("llava"), "rounds=1"), tmp_path / "run")
    engines.export(tmp_path / "run", tmp_path / "out" / "adapter")
    for folder in (tmp_path / "run" / "adapter", tmp_path / "out" / "adapter"):
        card = (folder / "README.md").read_text()
        assert f"base_model: {json.dumps(str(tiny('llava')))}" in card
        (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
        assert repr(str(folder)) in code
        names: dict[str, Any] = {}
        with warnings.catch_warnings(action="ignore"):  # PEFT's, about embeddings
            exec(code, names)
        assert names["model"].peft_config["default"].base_model_name_or_path == str(tiny("llava"))
