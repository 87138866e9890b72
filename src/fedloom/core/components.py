"""The components of a vision-language model and the kinds of its layers, by their names.

model.language_model.layers.3.self_attn.q_proj                  component "language", kind "q"
                                                                addresses language.3.q, language.self.q
model.qformer.encoder.layer.2.crossattention.attention.query    addresses qformer.2.q, qformer.cross.q ...
language_model.decoder.block.3.layer.1.EncDecAttention.q        addresses language.3.q, language.cross.q ...
"""

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

from fedloom.core.table import Component, Kind

CONTEXT = -1
"""The id of a place in a text whose embedding an adapter fills."""

ATTENTION = ("q", "k", "v", "o", "qkv")
"""Kinds of layers of attention."""

CROSS = re.compile(r"cross_?att|encoder_attn|EncDecAtt")
"""What names of layers of cross-attention have."""

# The first row that fits decides: a merger inside a vision tower is a connector.
_COMPONENTS: tuple[tuple[Component, frozenset[str]], ...] = (
    (
        "connector",
        frozenset(
            {"multi_modal_projector", "connector", "qformer", "language_projection", "resampler", "merger", "aligner"}
            | {"visual_projection", "text_projection", "query_tokens", "image_newline"}
        ),
    ),
    ("vision", frozenset({"vision_tower", "vision_model", "vision_encoder", "visual", "vpm"})),
    ("language", frozenset({"language_model", "llm"})),
    ("text", frozenset({"text_model"})),
)

_KINDS: dict[str, tuple[Kind, ...]] = {
    **dict.fromkeys(("q_proj", "query", "q"), ("q",)),
    **dict.fromkeys(("k_proj", "key", "k"), ("k",)),
    **dict.fromkeys(("v_proj", "value", "v"), ("v",)),
    **dict.fromkeys(("qkv", "qkv_proj", "in_proj_qkv"), ("q", "k", "v")),
    **dict.fromkeys(("o_proj", "out_proj", "projection", "proj", "o"), ("o",)),
    **dict.fromkeys(("fc1", "fc2", "gate_proj", "up_proj", "down_proj", "gate_up_proj"), ("mlp",)),
    **dict.fromkeys(("wi", "wi_0", "wi_1", "wo"), ("mlp",)),
}


def component(name: str, generative: bool) -> Component | None:
    """The component that the layer called ``name`` belongs to; ``None`` for what is none (an output head)."""
    parts = set(name.split("."))
    for known, marks in _COMPONENTS:
        if parts & marks:
            return "language" if known == "text" and generative else known
    return None


def kinds(name: str, where: Component | None) -> tuple[Kind, ...]:
    """The kinds of the layer called ``name``: several for a fused q-k-v, none for what is no known kind."""
    return _KINDS.get(name.rsplit(".", 1)[-1], ("mlp",) if where == "connector" else ())


def addresses(name: str, generative: bool) -> list[str]:
    """How a glob can call the layer ``name``: ``component.block.kind``, for each of its blocks.

    A Q-Former's layers are of component ``qformer`` and of ``connector``. A block is the number of the layer in its
    stack, ``self`` or ``cross`` for a layer of attention, and the name of the module around the layer (its own, where
    there is none: ``connector.visual_projection.mlp``). The kind of a fused layer is that of its parts together
    (``qkv``). A layer that is of no component has no address.
    """
    where = component(name, generative)
    if where is None:
        return []
    parts = name.split(".")
    what = _kind(parts, where)
    blocks = _numbers(parts)[-1:]
    if what in ATTENTION:
        blocks.append("cross" if CROSS.search(name) else "self")
    blocks += parts[-2:-1] or parts
    owners = ["qformer", where] if "qformer" in parts else [where]
    return [f"{owner}.{block}.{what}" for owner in owners for block in dict.fromkeys(blocks)]


def reads_apart(model: Any) -> bool:
    """Whether a model's language model is an encoder-decoder, which reads prompt and answer apart."""
    return not getattr(model.config, "use_decoder_only_language_model", True)


def sublayer(name: str, generative: bool) -> tuple[str, int]:
    """What a layer is called without the number of its layer, such as ``qformer cross q``, ``language encoder wi_0`` or
    ``connector language_projection``; and that number, -1 where it has none."""
    parts = name.split(".")
    where = component(name, generative)
    what = _kind(parts, where) if where else parts[-1]
    owner = "qformer" if "qformer" in parts else where or "rest"
    half = next((part for part in parts if part in ("encoder", "decoder") and owner == "language"), "")
    if what in ATTENTION:
        within = f"{'cross' if CROSS.search(name) else 'self'} {what}"
    else:
        within = parts[-2] if parts[-1] == "dense" else parts[-1]
    number = next(reversed(_numbers(parts)), "-1")
    return " ".join(filter(None, (owner, half, within))), int(number)


def _numbers(parts: list[str]) -> list[str]:
    """The numbers in a layer's name, without those that T5 gives the parts of a block."""
    return [
        part
        for before, part in zip(["", *parts], parts, strict=False)
        if part.isdigit() and not (before == "layer" and "block" in parts)
    ]


def _kind(parts: list[str], where: Component) -> str:
    """A layer's kind as an address has it: the output of an attention is ``o`` in a Q-Former too."""
    if parts[-1] == "dense" and parts[-2:-1] == ["output"] and parts[-3].endswith("attention"):
        return "o"
    return "".join(kinds(".".join(parts), where)) or parts[-1]


def fits(globs: Iterable[str], name: str, generative: bool) -> bool:
    """Whether one of the globs fits an address of the layer ``name``."""
    known = addresses(name, generative)
    return any(fnmatchcase(address, glob) for glob in globs for address in known)
