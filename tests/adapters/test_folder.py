"""Files of an adapter that PEFT does not have: what is foreign or damaged is refused by name."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from fedloom import models
from fedloom.core.errors import FedloomError
from tests.adapters.kinds import Tiny, tuned

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"


def saved(folder: Path, tiny: Tiny, kind: str = "head") -> Path:
    made = tuned(kind, tiny("clip"))
    made.save(folder, made.read(), None, "")
    return folder


def told(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / CONFIG).read_text())
    return found


def test_its_settings_are_plain_and_whole(tiny: Tiny, tmp_path: Path) -> None:
    found = told(saved(tmp_path, tiny))
    assert found["classes"] == ["cat", "dog", "bird", "fish"]
    assert found["base_model_name_or_path"] == str(tiny("clip"))
    assert found["fedloom_adapter"]["kind"] == "head"
    assert "peft_type" not in found


def changed(**what: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / CONFIG).write_text(json.dumps(told(folder) | what))

    return change


def named(**what: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        found = told(folder)
        (folder / CONFIG).write_text(json.dumps(found | {"fedloom_adapter": found["fedloom_adapter"] | what}))

    return change


def cut(folder: Path) -> None:
    (folder / TENSORS).write_bytes((folder / TENSORS).read_bytes()[:-7])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda f: (f / CONFIG).write_text("{"), "adapter_config.json: cannot be read as an adapter's settings"),
        (lambda f: (f / CONFIG).write_text("[]"), "these are no settings of an adapter of fedloom's"),
        (lambda f: (f / CONFIG).unlink(), "adapter_config.json: cannot be read as an adapter's settings"),
        (changed(fedloom_adapter="head"), "these are no settings of an adapter of fedloom's"),
        (changed(classes="cat"), "'classes' is 'cat', expected a list of names"),
        (changed(classes=["cat", "dog"]), r"'head.bias' is \[4\], expected \[2\]"),
        (changed(base_model_name_or_path="/nowhere/at/all"), "there is no '/nowhere/at/all'"),
        (changed(base_model_fingerprint="0"), "is not the model that this adapter was trained on"),
        (named(kind="hat"), "there is no 'hat'"),
        (named(kind="os:system"), "'os:system'"),
        (named(rank=0), "rank = 0"),
        (named(options={"length": 3}), "'head' has no option 'length'"),
        (cut, "adapter_model.safetensors: cannot be read"),
        (lambda f: (f / TENSORS).unlink(), "adapter_model.safetensors: cannot be read"),
        (lambda f: save_file({"head.weight": torch.zeros(4, 12)}, f / TENSORS), "missing 'head.bias'"),
    ],
)
def test_what_is_damaged_is_refused(damage: Callable[[Path], Any], words: str, tiny: Tiny, tmp_path: Path) -> None:
    folder = saved(tmp_path / "adapter", tiny)
    models.opened(folder)
    damage(folder)
    with pytest.raises(FedloomError, match=words):
        models.opened(folder)


def test_pefts_own_is_left_to_peft(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(FedloomError, match=r"is PEFT's. Fix: open it with PeftModel.from_pretrained"):
        models.opened(saved(tmp_path, tiny, "lora"))


def test_no_folder_at_all(tmp_path: Path) -> None:
    with pytest.raises(FedloomError, match="cannot be read as an adapter's settings"):
        models.opened(tmp_path / "nothing")


def test_a_folder_may_be_moved(tiny: Tiny, tmp_path: Path) -> None:
    shutil.move(saved(tmp_path / "first", tiny), tmp_path / "second")
    assert models.opened(tmp_path / "second").read().keys() == {"head.weight", "head.bias"}


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (
            changed(base_model_name_or_path="tests.adapters.test_folder:told"),
            "base_model_name_or_path .* is a function",
        ),
        (named(kind="visual-prompts", options={"length": 10**12}), "length is 1000000000000, and the adapter has"),
        (changed(classes=[str(number) for number in range(10_000)]), "classes is 10000, and the adapter has"),
        (named(kind="lora", rank=10**12), "kind 'lora' is PEFT's"),
        (named(kind="lora", names=["(.*)*(.*)*(.*)*(.*)*Z"]), "kind 'lora' is PEFT's"),
    ],
)
def test_a_folder_neither_names_code_nor_asks_for_more_than_it_holds(
    damage: Callable[[Path], Any], words: str, tiny: Tiny, tmp_path: Path
) -> None:
    damage(saved(tmp_path, tiny))
    with pytest.raises(FedloomError, match=words):
        models.opened(tmp_path)
