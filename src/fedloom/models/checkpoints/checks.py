"""What can be told of a checkpoint before any of its weights is read: in a run, and in a plan of one."""

import json
from pathlib import Path
from typing import Any

from transformers import AutoConfig, dynamic_module_utils
from transformers import __version__ as version
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from fedloom.core.errors import FedloomError
from fedloom.models.checkpoints.shards import Shards
from fedloom.models.labels import LABELLED

dynamic_module_utils.TIME_OUT_REMOTE_CODE = 0
"""Seconds that Transformers waits for a yes, once it has asked on standard input whether code that comes with a model
may run: with none it refuses. ``trust_remote_code=False`` alone is not enough: it does not hand that on to all parts of
a model and its processor."""

CONTRASTIVE = ("clip", "siglip", "siglip2")
"""Models of two towers, by the ``model_type`` of their configuration."""

_SINCE = {"minicpmv4_6": "5.7"}
"""The release of Transformers that first knew a model, where that is worth telling."""


def reason(error: BaseException) -> str:
    """A library's error in a line."""
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def configuration(name: str, source: Path, revision: str = "") -> Any:
    """The configuration of ``name``: a folder's, a file's or, where ``source`` is neither, the hub's at ``revision``.
    No code that comes with a model is ever run, and nobody is asked whether it may.

    Raises:
        FedloomError: it cannot be read, needs code of its own, is quantised, or is neither a contrastive nor an
            image-text-to-text model's.
    """
    file = source / "config.json" if source.is_dir() else source
    if file.is_file():
        _check_type(name, file)
    try:
        config = AutoConfig.from_pretrained(source.as_posix(), trust_remote_code=False, revision=revision or None)
    except Exception as error:  # whatever a library makes of a damaged file
        raise FedloomError(
            f"model: the configuration of {name!r} cannot be read from its files: {reason(error)}"
        ) from error
    if config.model_type not in (*CONTRASTIVE, *LABELLED, *MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES):
        raise FedloomError(
            f"model: {name!r} is a {config.model_type!r}: neither contrastive ({', '.join(CONTRASTIVE)}), nor one of "
            f"labels ({', '.join(LABELLED)}), nor a model that answers in text about images "
            "(AutoModelForImageTextToText). Choose another checkpoint."
        )
    _check_precision(name, config)
    return config


def weights(folder: Path) -> list[Path]:
    """The files that hold the weights of the checkpoint in ``folder``, each there and as long as its header says.

    Raises:
        FedloomError: there is none in safetensors, one is missing, or one is damaged.
    """
    shards = Shards.of(folder)
    for tensor in shards.places:
        shards.entry(tensor)
    return [folder / file for file in sorted(set(shards.places.values()))]


def _check_type(name: str, file: Path) -> None:
    """Refuse a model that Transformers does not know by itself."""
    try:
        said = json.loads(file.read_text(encoding="utf-8-sig"))
        kind, code = said.get("model_type"), said.get("auto_map")
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise FedloomError(f"model: {str(file)!r} cannot be read: {reason(error)}. Expected a JSON object.") from None
    if kind in CONFIG_MAPPING_NAMES or kind in LABELLED:
        return
    if code and kind not in _SINCE:
        raise FedloomError(
            f"model: {name!r} is a {kind!r} that needs code of its own (auto_map in {file.name}). fedloom never runs "
            "code that comes with a model. Choose a checkpoint of a model that Transformers knows."
        )
    newer = f"Transformers {_SINCE[kind]} or newer" if kind in _SINCE else "a newer one"
    raise FedloomError(
        f"model: {name!r} is a {kind!r} (model_type in {file.name}), which this release of Transformers does not know "
        f"({version}). Install {newer}, or choose another checkpoint."
    )


def _check_precision(name: str, config: Any) -> None:
    """Refuse weights that are not plain numbers."""
    for part in (config, config.get_text_config(), getattr(config, "vision_config", None)):
        found = getattr(part, "quantization_config", None) or getattr(part, "compression_config", None)
        if found:
            method = (found if isinstance(found, dict) else found.to_dict()).get("quant_method") or "unknown method"
            raise FedloomError(
                f"model: {name!r} is quantised ({method}, quantization_config in config.json), and fedloom trains "
                "beside plain weights. Choose the checkpoint that it was made from, in float32, bfloat16 or float16."
            )
