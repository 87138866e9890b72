"""From the name a user types to a frozen model in memory: shipped nano models, folders, Hugging Face ids."""

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.utils.tqdm import disable_progress_bars
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText, AutoProcessor
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
from transformers.utils import logging

from fedloom.core.device import device
from fedloom.core.errors import FedloomError, nearest

CONTRASTIVE = ("clip", "siglip", "siglip2")
_FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]


@dataclass(frozen=True)
class Checkpoint:
    """A base model as it was saved, frozen, on the device; ``fingerprint`` is the hash of its weight files.
    ``whole``: its language model is in it."""

    name: str
    model: Any
    processor: Any
    fingerprint: str
    generative: bool
    whole: bool = True


def locate(name: str, nano: dict[str, Path]) -> Path:
    """The folder that holds the checkpoint ``name``, fetched from the Hugging Face hub if need be.

    Raises:
        FedloomError: no such nano model, folder or id, or the hub cannot be reached.
    """
    if name in nano:
        if not (nano[name] / "config.json").is_file():
            raise FedloomError(
                f"model: {name!r} has no weights in this installation. Make them with `fedloom pretrain {name}`."
            )
        return nano[name]
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise FedloomError(f"model: the folder {name!r} has no config.json. Expected what save_pretrained writes.")
        return folder
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise FedloomError(
            f"model: there is no {name!r}: not a folder, not a Hugging Face id (owner/model). {nearest(name, nano)}"
        )
    return _fetch(name)


def _fetch(name: str) -> Path:
    """The hub's files for ``name`` in the local Hugging Face cache; what is there already is used without a network."""
    try:
        return Path(snapshot_download(name, allow_patterns=_FILES, local_files_only=True))
    except (OSError, ValueError):
        pass  # not here yet: ask the hub
    try:
        return Path(snapshot_download(name, allow_patterns=_FILES))
    except (OSError, ValueError) as error:
        reason = str(error).strip().split("\n", 1)[0]
        raise FedloomError(
            f"model: {name!r} is not in the local Hugging Face cache and cannot be fetched ({reason}). Check "
            f"the id and the network (and `hf auth login` for a gated model), run `hf download {name}` where there is "
            "one, or give model.name a local folder or a nano model."
        ) from None


def read(name: str, folder: Path, dtype: str) -> Checkpoint:
    """Load the checkpoint in ``folder``.

    Raises:
        FedloomError: neither a contrastive nor an image-text-to-text model, no safetensors, or damaged files.
    """
    if not sys.stderr.isatty():
        logging.disable_progress_bar()
        disable_progress_bars()
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise FedloomError(
            f"model: {name!r} has no *.safetensors file. fedloom never opens pickled weights: convert it."
        )
    # Training steps in float32; half-precision base weights only where memory counts and the hardware is made for it.
    half = dtype == "bfloat16" and device().type == "cuda"
    options = {"dtype": torch.bfloat16 if half else torch.float32, "use_safetensors": True}
    try:
        config = AutoConfig.from_pretrained(folder)
        generative = config.model_type not in CONTRASTIVE
        if generative and config.model_type not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
            raise FedloomError(
                f"model: {name!r} is a {config.model_type!r}: neither contrastive ({', '.join(CONTRASTIVE)}) nor a "
                "model that answers in text about images (AutoModelForImageTextToText). Choose another checkpoint."
            )
        auto = AutoModelForImageTextToText if generative else AutoModel
        model: nn.Module = auto.from_pretrained(folder, **options)
        # The PIL backend gives the same pixels wherever it runs and needs no torchvision.
        processor = AutoProcessor.from_pretrained(folder, backend="pil")
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise FedloomError(f"model: {name!r} cannot be read from its files: {error}") from error
    model.requires_grad_(False).eval().to(device())
    return Checkpoint(name, model, processor, _fingerprint(weights), generative)


def _fingerprint(files: list[Path]) -> str:
    """SHA-256 of the weight files, so that it is the same whatever precision they are loaded in."""
    total = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            total.update(hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()
