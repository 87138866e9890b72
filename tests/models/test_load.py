import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load_file, save_file

from fedloom import models
from fedloom.core.errors import FedloomError
from fedloom.core.seeds import Seeds
from fedloom.models import AdapterSpec, listing, load
from fedloom.models.checkpoints import checkpoint

Tiny = Callable[[str], Path]


def attempt(name: str, **options: object) -> None:
    load(name, adapter=AdapterSpec(), seeds=Seeds(0), **options)


def test_the_list_names_the_models_that_ship() -> None:
    assert [name for name, _ in listing()][:3] == ["nano-clip", "nano-vlm", "nano-qformer"]
    assert all(summary.endswith(".") for _, summary in listing())


@pytest.mark.parametrize("kind", ["clip", "llava"])
def test_a_shipped_model_loads_by_name(kind: str, tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(models.NANO, "nano-clip", tiny(kind))
    assert load("nano-clip", adapter=AdapterSpec(), seeds=Seeds(0)).name == "nano-clip"


def test_an_unknown_name_gives_the_nearest() -> None:
    with pytest.raises(FedloomError, match=r"no 'nano-clap'.*Did you mean 'nano-clip'"):
        attempt("nano-clap")


def test_a_shipped_model_without_weights_tells_how_to_make_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(models.NANO, "nano-vlm", tmp_path)
    with pytest.raises(FedloomError, match="fedloom pretrain nano-vlm"):
        attempt("nano-vlm")


def test_without_a_network_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(name: str, **options: object) -> str:
        raise LocalEntryNotFoundError("no network\nand more")

    monkeypatch.setattr(checkpoint, "snapshot_download", offline)
    with pytest.raises(FedloomError, match=r"cannot be fetched \(no network\).*hf download llava-hf/llava"):
        attempt("llava-hf/llava")


def test_a_model_on_the_hub_loads_by_its_id(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "snapshot_download", lambda name, **options: str(tiny("clip")))
    assert load("openai/tiny", adapter=AdapterSpec(), seeds=Seeds(0)).name == "openai/tiny"


def test_folders_that_hold_no_checkpoint_are_refused(tmp_path: Path, tiny: Tiny) -> None:
    with pytest.raises(FedloomError, match=r"has no config\.json"):
        attempt(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(FedloomError, match=r"no \*\.safetensors"):
        attempt(str(tmp_path))
    weights = (tiny("clip") / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(weights)
    with pytest.raises(FedloomError, match="is a 'bert': neither contrastive"):
        attempt(str(tmp_path))
    (tmp_path / "config.json").write_text((tiny("clip") / "config.json").read_text())
    (tmp_path / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(FedloomError, match="cannot be read"):
        attempt(str(tmp_path))


def test_half_precision_on_disk_is_full_in_memory(tiny: Tiny, tmp_path: Path) -> None:
    shutil.copytree(tiny("clip"), tmp_path / "half")
    halved = {name: value.half() for name, value in load_file(tmp_path / "half" / "model.safetensors").items()}
    save_file(halved, tmp_path / "half" / "model.safetensors", metadata={"format": "pt"})
    model = load(str(tmp_path / "half"), adapter=AdapterSpec(), seeds=Seeds(0))
    weights = {name: value for name, value in model._model.state_dict().items() if "lora_" not in name}
    assert {value.dtype for value in weights.values()} == {torch.float32}
    name = "text_projection.weight"
    assert torch.equal(weights[name], halved[name].float())


def test_an_unknown_dtype_is_refused(tiny: Tiny) -> None:
    with pytest.raises(FedloomError, match="'float16' is not offered"):
        attempt(str(tiny("clip")), dtype="float16")


def test_a_function_of_the_users_own_is_called_with_what_it_names(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_models.py").write_text("def opened(adapter, seeds):\n    return (adapter.rank, seeds.seed)\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert load("my_models:opened", adapter=AdapterSpec(rank=3), seeds=Seeds(7)) == (3, 7)
    with pytest.raises(FedloomError, match="cannot be imported"):
        attempt("no_such_module:opened")
