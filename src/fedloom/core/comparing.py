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


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Spelled = Annotated[str, BeforeValidator(_spelled)]
Values = Annotated[list[Spelled], Field(min_length=1)]


Named = Annotated[dict[str, Spelled], Field(min_length=1)]
"""Values of an axis by names of their own: overrides as ``--set`` spells them, with spaces between."""


Rules = list[dict[str, Annotated[list[str], BeforeValidator(_listed)]]]
"""Combinations: those that have, of each axis that a rule names, one of its values."""


class CompareTable(Table):
    """What ``fedloom compare`` varies: every combination of ``axes`` under every seed. It stands beside the experiment
    and is no part of it.

    A value is TOML, or a text as ``--set`` spells it; a text may carry further overrides after spaces, such as
    ``"fedopt method.eta=0.01"``. An axis that is a table has names for its values, ``a5 = "scenario=dirichlet
    scenario.alpha=5"``: it is no key of the experiment, and its names stand in tables and folders.
    """

    like: str = ""
    """A preset or file whose [compare] this one begins with: its keys, and its axes' names, are replaced one by one."""
    seeds: Count = 3
    """How many seeds each combination runs under."""
    jobs: Count = 1
    """How many runs go on at a time."""
    axes: dict[str, Values | Named] = Field(default_factory=dict)
    """Keys and the values that they take; or axes whose values have names."""
    skip: Rules = Field(default_factory=list)
    """Combinations that are left out: those that have, of each axis that is named, one of these values."""
    columns: str = ""
    """An axis whose values stand side by side in the table, a column each."""
    by: str = ""
    """A field of the test examples by which scores are told apart, such as "skill" (`by-FIELD/` beside the table)."""
    unranked: Rules = Field(default_factory=list)
    """Rows, told as in skip, that bound the others and are not marked as a column's best: all data in one place."""
    reported: list[str] = Field(default_factory=list)
    """Files of what papers report, shown apart from what was measured: paths, or names of those that ship."""
    tune: dict[str, Values] = Field(default_factory=dict)
    """Keys and values to choose from on the validation part, the same for every combination: {"client.lr" = [...]}."""
    tune_seeds: Count = 1
    """How many seeds, none of them measured, a value is tried under."""
    tune_over: list[str] | None = None
    """The axes for whose values a choice of its own is made (default: all); others keep their first value meanwhile."""
    baseline: Annotated[list[str], BeforeValidator(_listed)] = Field(default_factory=list)
    """What rows are held against: "method=fedavg"; by default the first value of axis method, or of the first axis."""
