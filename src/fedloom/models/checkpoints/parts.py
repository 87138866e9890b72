"""Which tensors of a checkpoint are the language model's and which a client's, by their names in its files.

Files name tensors as the release of Transformers that wrote them did: ``language_model.model.layers.0...`` once,
``model.language_model.layers.0...`` now. ``plain`` leaves out what differs.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForImageTextToText

from fedloom.core.components import component
from fedloom.core.contracts import Tree
from fedloom.core.errors import FedloomError
from fedloom.core.tree import nbytes
from fedloom.models.checkpoints import checks
from fedloom.models.checkpoints.shards import Shards
from fedloom.models.language.decoder import decoder

_WRAPPERS = frozenset({"model", "language_model", "text_model"})


@dataclass(frozen=True)
class Parts:
    """Names in ``shards``: ``edge`` (vision tower, connector, whatever else stands before the language model),
    ``embeddings`` (of words; both sides have them) and ``language`` (all others that the model has).

    ``shape``: the whole model, without memory.
    """

    shards: Shards
    shape: Any
    edge: tuple[str, ...]
    embeddings: str
    language: tuple[str, ...]

    @property
    def parameters(self) -> int:
        """Parameters of the whole model."""
        return sum(p.numel() for p in self.shape.parameters())

    def is_language(self, name: str) -> bool:
        """Whether a tensor is the language model's or the embeddings."""
        return is_language(name, language_prefixes(self.shape))

    @property
    def edge_files(self) -> list[str]:
        """The files that a client needs."""
        return sorted({self.shards.places[name] for name in (*self.edge, self.embeddings)})


def plain(name: str) -> str:
    """A tensor's name without what has changed between releases of Transformers."""
    kept: list[str] = []
    for part in name.split("."):
        if part not in _WRAPPERS and not (part == "vision_model" and kept[-1:] == ["vision_tower"]):
            kept.append(part)
    return ".".join(kept)


def of(folder: Path, config: Any) -> Parts:
    """Those of the checkpoint in ``folder``; of its files, the index or the headers are read.

    Raises:
        FedloomError: no safetensors, damaged ones, or none that holds the word embeddings.
    """
    return divided(Shards.of(folder), shaped(config))


def shaped(config: Any) -> Any:
    """The model of a configuration, without memory.

    Raises:
        FedloomError: there is no such model, or it needs code of its own.
    """
    try:
        with torch.device("meta"):
            return AutoModelForImageTextToText.from_config(config, trust_remote_code=False).eval()
    except Exception as error:  # whatever a library makes of a configuration
        raise FedloomError(
            f"model: the configuration of a {config.model_type!r} makes no model: {checks.reason(error)}"
        ) from error


def divided(shards: Shards, shape: Any) -> Parts:
    """The tensors of ``shards`` as parts of the model ``shape``.

    Raises:
        FedloomError: none holds the word embeddings.
    """
    table = f"{plain(name_of(shape, shape.get_input_embeddings()))}.weight"
    inside = language_prefixes(shape)
    known = {plain(name) for name in shape.state_dict()}
    edge, language, embeddings = [], [], ""
    for name in sorted(shards.places):
        short = plain(name)
        if short not in known:
            continue  # a buffer of an older release
        if short == table:
            embeddings = name
        elif is_language(name, inside):
            language.append(name)
        else:
            edge.append(name)
    if not embeddings:
        raise FedloomError(f"model: {str(shards.folder)!r} holds no word embeddings ({table!r}). Fetch it again.")
    return Parts(shards, shape, tuple(edge), embeddings, tuple(language))


def is_language(name: str, inside: tuple[str, ...]) -> bool:
    """Whether a tensor is the language model's or the embeddings, whose plain names begin as ``inside`` says."""
    return component(name, True) == "language" or plain(name).startswith(inside)


def language_prefixes(model: Any) -> tuple[str, ...]:
    """How plain names of the language model's tensors begin, the embeddings among them: the decoder's and the output
    layer's."""
    inner, head = decoder(model), model.get_output_embeddings()
    inside = name_of(model, inner)
    own = [*(name for name, _ in inner.named_children()), *(n for n, _ in inner.named_parameters(recurse=False))]
    found = [plain(f"{inside}.{name}") for name in own]
    return tuple(f"{name}." for name in [*found, plain(name_of(model, head))])


def beside_language(model: Any) -> int:
    """Parameters of what a client holds of ``model`` where its language model is elsewhere, the whole table of words
    among them."""
    inside, words = language_prefixes(model), model.get_input_embeddings()
    mine: list[int] = [p.numel() for name, p in model.named_parameters() if not is_language(name, inside)]
    table: int = words.num_embeddings * words.embedding_dim
    return sum(mine) + table


def name_of(model: nn.Module, wanted: nn.Module) -> str:
    """The name of a module in a model."""
    return next(str(name) for name, module in model.named_modules() if module is wanted)


@dataclass(frozen=True)
class Halves:
    """A model's two halves: parameters and bytes of what a client holds (``edge``) and of the language model, both
    without the word embeddings, which are ``words`` rows of ``width`` numbers and ``row`` bytes."""

    edge: int
    edge_bytes: int
    language: int
    language_bytes: int
    words: int
    width: int
    row: int


def halved(model: Any, named: Tree) -> Halves:
    """The halves of a model whose tensors are ``named``."""
    words = model.get_input_embeddings()
    table, inside = f"{name_of(model, words)}.weight", language_prefixes(model)
    mine = {name: value for name, value in named.items() if not is_language(name, inside)}
    theirs = {name: value for name, value in named.items() if name not in mine and name != table}
    learned = dict(model.named_parameters())
    edge, language = (sum(p.numel() for n, p in half.items() if n in learned) for half in (mine, theirs))
    count, width = words.weight.shape
    return Halves(edge, nbytes(mine), language, nbytes(theirs), count, width, width * words.weight.dtype.itemsize)
