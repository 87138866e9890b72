"""Half a model in memory: a client's, without the language model, or the language model alone.

The model is built from a configuration in which the other half has no layers (and no words), and gets the tensors of
its own half; Transformers gives them the names of today. What little is left of the other half is never used.
"""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers.utils import logging

from fedloom.core import memory, resolve
from fedloom.core.contracts import Base
from fedloom.core.device import device
from fedloom.core.errors import FedloomError
from fedloom.core.files import is_folder
from fedloom.core.seeds import Seeds
from fedloom.core.spec import FROZEN, AdapterSpec
from fedloom.models.checkpoints import checkpoint, fingerprints, parts
from fedloom.models.checkpoints.checkpoint import Checkpoint
from fedloom.models.checkpoints.checks import CONTRASTIVE
from fedloom.models.checkpoints.parts import Parts
from fedloom.models.checkpoints.rows import Rows
from fedloom.models.checkpoints.shards import INDEX
from fedloom.models.language.decoder import Language

_DEPTHS = ("num_hidden_layers", "depth")
"""How configurations call the number of a vision tower's layers."""


@dataclass(frozen=True)
class Served:
    """A language model to be served: frozen, on the device. ``fingerprint``: the hash of all that decides its outputs;
    ``weights``: of its weights; ``embeddings``: of the word embeddings alone, which clients have too."""

    language: Language
    fingerprint: str
    embeddings: str
    weights: str


def locate(name: str, nano: dict[str, Path], revision: str = "") -> Path:
    """The folder that holds what a client needs of ``name``; of a model on the Hugging Face hub, those of its files
    alone are fetched, as they are at ``revision``.

    Raises:
        FedloomError: as ``checkpoint.locate``.
    """
    folder = checkpoint.locate(name, nano, weights=False, revision=revision)
    if name in nano or is_folder(name):
        return folder
    has = (folder / INDEX).is_file()  # else all is in one file
    needed = parts.of(folder, checkpoint.configuration(name, folder)).edge_files if has else [checkpoint.WEIGHTS]
    return checkpoint.fetch(name, needed, revision)


def edge(name: str, folder: Path, dtype: str, spec: AdapterSpec) -> Checkpoint:
    """What a client holds of the checkpoint in ``folder``: vision tower, connector, and those word embeddings that it
    asks for. Nothing of the language model is read, and files that hold nothing else need not be there. Its fingerprint
    is that of what a client holds (``fingerprints.edge``).

    Raises:
        FedloomError: as ``checkpoint.read``; its words are embedded in another way than by a table; or ``spec`` puts
            an adapter into the language model.
    """
    memory.give_back_freed()  # a client may be a small machine
    config = checkpoint.configuration(name, folder)
    if config.model_type in CONTRASTIVE:
        raise FedloomError(f"split: {name!r} has no language model that could be elsewhere. Set split.wire = 'none'.")
    held = parts.of(folder, config)
    if type(held.shape.get_input_embeddings()) is not nn.Embedding:
        found = type(held.shape.get_input_embeddings()).__name__
        raise FedloomError(
            f"split: {name!r} embeds words by a {found}, expected a plain table. Set split.wire = 'none'."
        )
    kind = resolve.build("adapters", spec.kind, spec.options, spec=spec)
    if "language" in kind.touches(Base(name, held.shape, True, False, Seeds(0))):
        raise FedloomError(FROZEN)
    model = _built(name, held, without_language(config), held.edge, dtype)
    rows = Rows(held.shards, held.embeddings, checkpoint.precision(dtype))
    model.set_input_embeddings(rows)
    model.config = config
    processor, identity = checkpoint.processor(name, folder), fingerprints.edge_identity(held)
    commit = checkpoint.commit_of(folder)
    return Checkpoint(name, model, processor, identity, True, whole=False, parameters=held.parameters, commit=commit)


def language(name: str, folder: Path, dtype: str) -> Served:
    """The language model of the checkpoint in ``folder``. Vision tower and connector are never read; what is built of
    them is dropped.

    Raises:
        FedloomError: as ``checkpoint.read``.
    """
    config = checkpoint.configuration(name, folder)
    if config.model_type in CONTRASTIVE:
        raise FedloomError(f"host: {name!r} has no language model to serve. Expected a model that answers in text.")
    held = parts.of(folder, config)
    model = _built(name, held, without_vision(config), (*held.language, held.embeddings), dtype)
    weights = fingerprints.language_weights(held)
    whole = fingerprints.language_of(held, weights)
    return Served(Language(model, dtype), whole, fingerprints.embeddings_of(held), weights)


def without_language(config: Any) -> Any:
    """The configuration of a model whose language model has no layers, and one word."""
    made = copy.deepcopy(config)
    text = made.get_text_config()
    text.num_hidden_layers, text.vocab_size, text.pad_token_id = 0, 1, None
    if getattr(text, "layer_types", None):
        text.layer_types = []
    return made


def without_vision(config: Any) -> Any:
    """The configuration of a model whose vision tower has no layers."""
    made = copy.deepcopy(config)
    for part in (made.vision_config, getattr(made, "qformer_config", None)):
        for key in _DEPTHS:
            if hasattr(part, key):
                setattr(part, key, 0)
    return made


def _built(name: str, held: Parts, config: Any, names: tuple[str, ...], dtype: str) -> Any:
    """The model of ``config`` with the tensors ``names``, frozen, on the device.

    Raises:
        FedloomError: something of it is not in the files.
    """
    precision = checkpoint.precision(dtype)
    tensors = {each: _read(held, each, precision) for each in names}
    shown = logging.get_verbosity()
    logging.set_verbosity_error()  # Transformers would name all that is left of the other half
    try:
        with torch.random.fork_rng(devices=[]):
            made: tuple[Any, dict[str, Any]] = type(held.shape).from_pretrained(
                None, config=config, state_dict=tensors, dtype=precision, output_loading_info=True
            )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise FedloomError(f"model: {name!r} cannot be read from its files: {error}") from error
    finally:
        logging.set_verbosity(shown)
    model, told = made
    spoken = held.embeddings in names
    missing = [each for each in sorted(told["missing_keys"]) if held.is_language(each) == spoken]
    if missing:
        raise FedloomError(
            f"model: {name!r} has no {missing[0]!r} in its files, and {len(missing) - 1} more. Fetch it again."
        )
    return model.requires_grad_(False).eval().to(device())


def _read(held: Parts, name: str, precision: torch.dtype) -> Tensor:
    """A tensor in float32 where that is computed in, so that none is ever there twice; else as it was saved."""
    value = held.shards.read(name)
    return value.float() if precision == torch.float32 and value.is_floating_point() else value
