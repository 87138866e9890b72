"""What an experiment asks of an adapter, whatever its kind."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from fedloom.core.errors import FedloomError
from fedloom.core.placements import expanded
from fedloom.core.table import Kind, Placement
from fedloom.core.tables import AdapterTable

FROZEN = (
    "split: the language model is elsewhere and stays frozen, but adapter.where puts an adapter into it. Leave "
    "'language' out of adapter.where, or set adapter.kind = 'nano'."
)
"""What is told where something is to learn in a language model that is elsewhere."""


class AdapterSpec(BaseModel):
    """What an experiment's table [adapter] says of the adapter itself.

    ``kind``: what it is (a file of ``fedloom.adapters``), with its ``options``. ``where`` are components (none: all),
    of which layers of the kinds ``modules`` are adapted; or globs over ``component.block.kind``, such as
    ``"qformer.cross.q"`` or ``"language.*.mlp"``, which need no ``modules`` (``fedloom.core.components``); or names of
    placements, which stand for globs (``fedloom.core.placements``). A component that the model lacks is passed over.
    ``names`` are regular expressions: a layer whose full name contains one is adapted too. ``fully`` are modules and
    parameters that learn themselves, beside pairs. ``rank``, ``alpha``, ``dropout`` and ``init`` (where pairs start:
    ``fedloom.core.starts``) are those of LoRA pairs; a kind without pairs does not read them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str = "lora"
    init: Literal["kaiming", "svd", "update"] = "kaiming"
    rank: int = Field(default=8, ge=1)
    alpha: float = Field(default=16.0, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    where: tuple[Placement, ...] = ()
    modules: tuple[Kind, ...] = ("q", "v")
    names: tuple[str, ...] = ()
    fully: tuple[str, ...] = ()
    options: dict[str, Any] = Field(default_factory=dict)

    @field_validator("where")
    @classmethod
    def _named(cls, where: tuple[str, ...]) -> tuple[str, ...]:
        return expanded(where)

    @classmethod
    def of(cls, table: AdapterTable, rank: int) -> "AdapterSpec":
        """The spec of an experiment's table: an adapter of ``rank`` with the table's own scale, alpha / rank.

        Raises:
            FedloomError: as ``parse``.
        """
        said = {key: getattr(table, key) for key in type(table).model_fields if key in cls.model_fields}
        return cls.parse(said | {"rank": rank, "alpha": table.alpha / table.rank * rank})

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
