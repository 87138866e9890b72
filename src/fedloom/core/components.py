"""The components of a vision-language model and the kinds of its layers, by their names.

model.language_model.layers.3.self_attn.q_proj  ->  component "language", kind "q"
"""

from fedloom.core.table import Component, Kind

CONTEXT = -1
"""The id of a place in a text whose embedding an adapter fills."""

# The first row that fits decides: a merger inside a vision tower is a connector.
_COMPONENTS: tuple[tuple[Component, frozenset[str]], ...] = (
    (
        "connector",
        frozenset(
            {"multi_modal_projector", "connector", "qformer", "language_projection", "resampler", "merger", "aligner"}
            | {"visual_projection", "text_projection"}
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
    **dict.fromkeys(("qkv", "qkv_proj"), ("q", "k", "v")),
    **dict.fromkeys(("o_proj", "out_proj", "projection", "proj"), ("o",)),
    **dict.fromkeys(("fc1", "fc2", "gate_proj", "up_proj", "down_proj", "gate_up_proj"), ("mlp",)),
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
