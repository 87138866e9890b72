"""The table of an experiment file that is no part of the experiment: what ``fedloom compare`` varies."""

import json
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from fedloom.core.table import Count, Table


def _spelled(value: Any) -> str:
    """A value of TOML as ``--set`` spells it."""
    if isinstance(value, str):
        return value
    if not isinstance(value, bool | int | float | list):
        raise ValueError("a text, a number, true, false or a list")
    return json.dumps(value, ensure_ascii=False, default=str)


Spelled = Annotated[str, BeforeValidator(_spelled)]
Values = Annotated[list[Spelled], Field(min_length=1)]


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class CompareTable(Table):
    """What ``fedloom compare`` varies: every combination of ``axes`` under every seed. It stands beside the experiment
    and is no part of it.

    A value is TOML, or a text as ``--set`` spells it; a text may carry further overrides after spaces, such as
    ``"fedopt method.eta=0.01"``.
    """

    seeds: Count = 3
    """How many seeds each combination runs under."""
    jobs: Count = 1
    """How many runs go on at a time."""
    axes: dict[str, Values] = Field(default_factory=dict)
    """Keys and the values that they take."""
    tune: dict[str, Values] = Field(default_factory=dict)
    """Keys and values to choose from on the validation part, the same for every combination: {"client.lr" = [...]}."""
    tune_seeds: Count = 1
    """How many seeds, none of them measured, a value is tried under."""
    tune_over: list[str] | None = None
    """The axes for whose values a choice of its own is made (default: all); others keep their first value meanwhile."""
    baseline: Annotated[list[str], BeforeValidator(_listed)] = Field(default_factory=list)
    """What rows are held against: "method=fedavg"; by default the first value of axis method, or of the first axis."""
