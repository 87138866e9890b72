"""What learns: which linear layers of a model carry a LoRA pair, named by component and kind, not by path.

model.language_model.layers.3.self_attn.q_proj  ->  component "language", kind "q"
"""

import re
from collections.abc import Mapping
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from torch import nn

from fedloom.core.errors import FedloomError
from fedloom.core.tables import AdapterTable, Component, Kind

FROZEN = (
    "split: the language model is elsewhere and stays frozen, but adapter.where puts an adapter into it. Leave "
    "'language' out of adapter.where, or set adapter.kind = 'nano'."
)
"""What is told where something is to learn in a language model that is elsewhere."""


class AdapterSpec(BaseModel):
    """A LoRA adapter: W x + (alpha / rank) B A x beside every chosen linear layer (Hu et al. 2021, eq. 3).

    ``kind`` ``"lora-sb"``: W x + (alpha / rank) B R A x with R ``[rank, rank]`` (Fed-SB, arXiv 2502.15436). ``init``:
    where the pairs start; ``"kaiming"``: A drawn, B zero; ``"svd"``: both from the largest singular directions of W0.
    Either way the start is zero in effect. ``"update"``, of a ``"lora-sb"`` alone: from the singular directions of the
    clients' first update, which one more exchange before round 1 tells. See ``fedloom.models.starts``.
    ``kind`` ``"nano"``: h + (alpha / rank) U D h on what the language model reads, and nothing inside any layer
    (FedNano; see ``fedloom.models.nano_adapters``). Of ``where``, ``"connector"`` is then the adapter after the
    connector and ``"text"`` that on the embeddings of words; ``modules`` and ``names`` choose nothing.

    ``where`` are components (none: all) and ``modules`` kinds of layer; a component the model lacks is passed over.
    ``names`` are regular expressions: a layer whose full name contains one is adapted too.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["lora", "lora-sb", "nano"] = "lora"
    init: Literal["kaiming", "svd", "update"] = Field(default="kaiming", validate_default=True)
    rank: int = Field(default=8, ge=1)
    alpha: float = Field(default=16.0, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    where: tuple[Component, ...] = ()
    modules: tuple[Kind, ...] = ("q", "v")
    names: tuple[str, ...] = ()

    @field_validator("init")
    @classmethod
    def _fits_the_kind(cls, init: str, info: ValidationInfo) -> str:
        if info.data.get("kind") == "lora-sb" and init == "kaiming":
            raise ValueError(
                "kind 'lora-sb' starts from singular directions; set init to 'update' (those of the clients' first "
                "update) or 'svd' (those of the weights)"
            )
        if info.data.get("kind") != "lora-sb" and init == "update":
            raise ValueError("a start from the clients' first update is that of kind 'lora-sb'; set kind or init")
        if info.data.get("kind") == "nano" and init != "kaiming":
            raise ValueError("kind 'nano' sits beside no weight that it could start from; leave init at 'kaiming'")
        return init

    @classmethod
    def of(cls, table: AdapterTable, rank: int) -> "AdapterSpec":
        """The spec of an experiment's table: an adapter of ``rank`` with the table's own scale, alpha / rank.

        Raises:
            FedloomError: as ``parse``.
        """
        options = {key: value for key, value in table.model_dump().items() if key in cls.model_fields}
        return cls.parse(options | {"rank": rank, "alpha": table.alpha / table.rank * rank})

    @classmethod
    def parse(cls, options: Mapping[str, Any]) -> "AdapterSpec":
        """The spec from plain options, as an experiment file holds them.

        Raises:
            FedloomError: an unknown option or a value that none can have.
        """
        try:
            return cls.model_validate(dict(options))
        except ValidationError as error:
            problems = (
                f"{'.'.join(map(str, e['loc']))} = {e['input']!r}: {e['msg'].removeprefix('Value error, ')}"
                for e in error.errors()
            )
            raise FedloomError(f"adapter: {'; '.join(problems)}. Options: {', '.join(cls.model_fields)}.") from None

    @property
    def scale(self) -> float:
        """The factor of every B A, whatever rank the pairs have at the moment."""
        return self.alpha / self.rank


_ALL = get_args(Component)

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


def linears(model: nn.Module) -> list[str]:
    """Names of the linear layers whose ``forward`` is called.

    ``nn.MultiheadAttention`` (SigLIP's pooling head) reads the weight of its output layer past it: LoRA there is dead.
    """
    fused = tuple(f"{name}." for name, module in model.named_modules() if isinstance(module, nn.MultiheadAttention))
    return [n for n, m in model.named_modules() if isinstance(m, nn.Linear) and not (fused and n.startswith(fused))]


def select(model: nn.Module, spec: AdapterSpec, generative: bool) -> list[str]:
    """Names of the linear layers of ``model`` that ``spec`` adapts, sorted.

    Raises:
        FedloomError: none matches, or one of ``spec.names`` is no regular expression.
    """
    found: list[str] = []
    has: dict[str, set[str]] = {}
    try:
        extra = [re.compile(pattern) for pattern in spec.names]
    except re.error as error:
        raise FedloomError(f"adapter.names: {error.pattern!r} is not a regular expression: {error}.") from None
    for name in linears(model):
        where = component(name, generative)
        what = kinds(name, where)
        if where is not None and what:
            has.setdefault(where, set()).update(what)
        wanted = where in (spec.where or _ALL) and bool(what) and set(what) <= set(spec.modules)
        if wanted or any(pattern.search(name) for pattern in extra):
            found.append(name)
    if not found:
        parts = "; ".join(f"{where} ({', '.join(sorted(what))})" for where, what in sorted(has.items()))
        raise FedloomError(
            f"adapter: where = {list(spec.where or _ALL)} with modules = {list(spec.modules)} and names = "
            f"{list(spec.names)} matches no layer of this model. It has {parts}. Choose from these in "
            "adapter.where and adapter.modules."
        )
    return sorted(found)
