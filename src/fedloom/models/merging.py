"""A trained adapter put into its model for good: a folder that any tool opens which knows the model."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModelForImageTextToText

from fedloom.adapters._fully import FILE as FULLY
from fedloom.core.errors import FedloomError
from fedloom.models import NANO, opened, usage
from fedloom.models.checkpoints import checkpoint, checks, identity
from fedloom.models.generative import Generative

MADE_OF = "adapter.sha256"
"""In a merged folder: the hash of the adapter that it was made of."""
KIND = "full"
"""The kind of fedloom's own adapters whose every tensor is one of the model's."""


def merge(adapter: Path, out: Path, base: str = "") -> str:
    """Write the model of an exported adapter with the adapter in its weights, and its processor.

    Args:
        adapter: the folder that a run wrote.
        out: the folder to write.
        base: where the model is, if not where it was.

    Returns:
        The model's type, as its config.json has it.

    Raises:
        FedloomError: no adapter, one that is not in weights, a model that does not answer in text, or ``out`` is
            something else. A folder that was made of this adapter is left as it is.
    """
    said = _settings(adapter)
    made_of = _content(adapter)
    if (out / MADE_OF).is_file() and (out / MADE_OF).read_text(encoding="utf-8") == made_of:
        return str(json.loads((out / "config.json").read_text(encoding="utf-8"))["model_type"])
    if out.exists():
        raise FedloomError(f"{out} already exists, and is not this adapter's. Fix: choose another folder with --out.")
    (model, folder), half = _merged(adapter, said, base), out.with_name(f"{out.name}.part")
    shutil.rmtree(half, ignore_errors=True)
    _write(model, folder, half)
    (half / MADE_OF).write_text(made_of, encoding="utf-8")
    half.rename(out)
    return str(model.config.model_type)


def _content(adapter: Path) -> str:
    """The hash of an adapter's files."""
    files = sorted(file for file in adapter.glob("*") if file.suffix in (".json", ".safetensors"))
    return hashlib.sha256(b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files)).hexdigest()


def _merged(adapter: Path, said: dict[str, Any], base: str) -> tuple[Any, Path]:
    """The model with the adapter in its weights, and the folder that it is from.

    Raises:
        FedloomError: as ``merge``.
    """
    address = base or str(said.get("base_model_name_or_path", ""))
    revision = "" if base else str(said.get("revision") or "")
    own = said.get("fedloom_adapter")
    if own is not None:
        if (kind := own.get("kind") if isinstance(own, dict) else own) != KIND:
            raise FedloomError(
                f"{adapter}: adapter.kind = {kind!r} changes more than weights, and cannot be put into them. Use the "
                "run's own figures, or train with kind 'lora' or 'full'."
            )
        made = opened(adapter, base)
        if not isinstance(made, Generative):
            raise FedloomError(f"{adapter}: {address!r} does not answer in text, as the models of such a tool do.")
        return made._model, checkpoint.locate(address, NANO, revision=revision)
    folder = checkpoint.locate(address, NANO, revision=revision)
    config = checks.configuration(address, folder)
    if config.model_type in checks.CONTRASTIVE:
        raise FedloomError(f"{adapter}: {address!r} matches pictures with captions, and answers in no text.")
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32, trust_remote_code=False)
    if (adapter / FULLY).is_file():
        model.load_state_dict(load_file(adapter / FULLY), strict=False)
    trained = PeftModel.from_pretrained(model, adapter)
    layers = [name.removeprefix("base_model.model.") for name, layer in trained.named_modules() if _adapted(layer)]
    if usage.shared(trained.base_model.model, layers, True):
        _part(model)
    return trained.merge_and_unload(), folder


def _settings(adapter: Path) -> dict[str, Any]:
    file = adapter / "adapter_config.json"
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("expected a JSON object")
    except (OSError, ValueError) as error:
        raise FedloomError(
            f"{file}: cannot be read: {error}. Expected the folder that a run wrote: RUN/adapter."
        ) from None
    return found


def _adapted(layer: nn.Module) -> bool:
    return hasattr(layer, "lora_A") and hasattr(layer, "base_layer")


def _part(model: Any) -> None:
    """Give the output layer a weight of its own, where it shares that of the words that go in."""
    head = model.get_output_embeddings()
    inner = getattr(head, "base_layer", head)
    inner.weight = nn.Parameter(inner.weight.detach().clone())
    model.config.tie_word_embeddings = model.config.get_text_config().tie_word_embeddings = False


def _write(model: Any, folder: Path, out: Path) -> None:
    model.save_pretrained(out)
    for name in identity.files(folder):
        if name != "config.json":
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(folder / name, out / name)
