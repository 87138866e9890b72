"""What an experiment asks of an adapter, whatever its kind."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from fedloom.core.errors import FedloomError
from fedloom.core.table import Component, Kind
from fedloom.core.tables import AdapterTable

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
    clients' first update, which one more exchange before round 1 tells. See ``fedloom.core.starts``.
    ``kind`` ``"nano"``: h + (alpha / rank) U D h on what the language model reads, and nothing inside any layer
    (FedNano; see ``fedloom.adapters.nano``). Of ``where``, ``"connector"`` is then the adapter after the
    connector and ``"text"`` that on the embeddings of words; ``modules`` and ``names`` choose nothing.

    ``where`` are components (none: all) and ``modules`` kinds of layer; a component the model lacks is passed over.
    ``names`` are regular expressions: a layer whose full name contains one is adapted too.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str = "lora"
    init: Literal["kaiming", "svd", "update"] = Field(default="kaiming", validate_default=True)
    rank: int = Field(default=8, ge=1)
    alpha: float = Field(default=16.0, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    where: tuple[Component, ...] = ()
    modules: tuple[Kind, ...] = ("q", "v")
    names: tuple[str, ...] = ()
    options: dict[str, Any] = Field(default_factory=dict)

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
