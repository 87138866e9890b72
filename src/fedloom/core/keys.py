"""The keys of an experiment: which there are, what each is for, and which one a mistyped key was meant to be."""

import inspect
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from fedloom.core import resolve
from fedloom.core.errors import FedloomError, guessed
from fedloom.core.table import AxisTable, Table, spelled
from fedloom.core.tables import Experiment

TABLES: dict[str, type[Table]] = {
    name: field.annotation
    for name, field in Experiment.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Table)
}
FREE: dict[str, type[AxisTable]] = {name: table for name, table in TABLES.items() if issubclass(table, AxisTable)}
"""The tables whose further keys are the options of what they name."""
AXES = {
    "adapter": "adapters",
    "task": "tasks",
    "scenario": "scenarios",
    "sampling": "sampling",
    "objective": "objectives",
    "modality": "modalities",
    "method": "methods",
}
"""A table, and the folder of its choices."""
CHOICE = {
    name: next(key for key in ("name", "kind") if key in table.model_fields)
    for name, table in TABLES.items()
    if {"name", "kind"} & table.model_fields.keys()
}
"""The tables that name a choice, and the key that does: ``--set model=X`` is ``--set model.name=X``."""
GIVEN = {
    "task": ("path", "on_bad"),
    "sampling": ("fraction",),
    "modality": ("seed",),
    "method": ("seed",),
    "adapter": ("spec",),
}
"""Parameters of a choice's builder that have keys elsewhere in the experiment."""
SHORT = {
    "batch": "batch_size",
    "bs": "batch_size",
    "learning_rate": "lr",
    "steps": "max_steps",
    "optim": "optimizer",
    "backbone": "model",
    "dataset": "task",
    "aggregation": "method",
    "strategy": "method",
    "num_rounds": "rounds",
    "num_clients": "clients",
    "device": "engine",
}
"""What people call some keys elsewhere."""


def known() -> list[str]:
    """Every key, as an override spells it; those of a choice's options are known to the choice alone."""
    keys = []
    for name in Experiment.model_fields:
        table = TABLES.get(name)
        keys += [f"{name}.{spelled(key)}" for key in table.model_fields if key != "options"] if table else [name]
    return keys


MOVED = ("model.loss",)
"""Keys of earlier releases, which an override may still set."""


def options(table: str, name: str) -> dict[str, inspect.Parameter]:
    """The options of the choice ``name`` of an axis table: its builder's parameters but those that have other keys.

    Raises:
        FedloomError: there is no such choice.
    """
    parameters = inspect.signature(resolve.builder(AXES[table], name)).parameters
    return {key: value for key, value in parameters.items() if key not in GIVEN.get(table, ())}


def nearest_key(key: str, raw: Mapping[str, Any]) -> str:
    """The tail of a message about an unknown key of the experiment ``raw``: ``Did you mean 'client.lr'?``, else the
    keys of its table, or all tables."""
    found = [*known(), *TABLES, *_options_of(raw)]
    if close := _near(key, found):
        return guessed(close)
    table = key.partition(".")[0]
    if table in TABLES:
        return of_table(table, raw)
    plain = [name for name in Experiment.model_fields if name not in TABLES]
    return f"Keys: {', '.join(plain)}. Tables: {', '.join(TABLES)}. `fedloom config` lists all their keys."


def of_table(table: str, raw: Mapping[str, Any]) -> str:
    """The keys of a table, in a sentence; those of the choice that the experiment ``raw`` names among them."""
    found = dict.fromkeys([*known(), *_options_of(raw)])
    return f"Keys of [{table}]: {', '.join(one.partition('.')[2] for one in found if one.startswith(f'{table}.'))}."


def _near(key: str, found: Iterable[str]) -> list[str]:
    """The likeliest of the known keys: the same name in another table, what such a name begins with, then near ones."""
    table, _, leaf = key.rpartition(".")
    leaf = SHORT.get(leaf, leaf)
    wanted = f"{table}.{leaf}" if table else leaf
    mine = list(dict.fromkeys(found))
    if wanted in mine:
        return [wanted]
    leaves = [one for one in mine if one.rpartition(".")[2] == leaf]
    begun = [one for one in mine if len(leaf) > 2 and one.rpartition(".")[2].startswith(f"{leaf}_")]
    tails = {one.rpartition(".")[2] for one in mine if one.partition(".")[0] == table or not table}
    near = get_close_matches(leaf, sorted(tails), n=2, cutoff=0.6)
    inside = [one for one in mine if one.rpartition(".")[2] in near and (not table or one.startswith(f"{table}."))]
    whole = get_close_matches(wanted, mine, n=3, cutoff=0.6)
    if table in TABLES:  # the table is right: its own keys come first
        return (inside or leaves or begun)[:3]
    tables = get_close_matches(wanted, TABLES, n=1, cutoff=0.8)
    return list(dict.fromkeys([*(leaves or begun), *tables]))[:3] or (whole or inside)[:3]


def _options_of(raw: Mapping[str, Any]) -> Iterator[str]:
    """Options of the choices that an experiment names, as far as these are there."""
    for table in FREE:
        chosen, key = raw.get(table, {}), CHOICE[table]
        name = chosen.get(key, FREE[table].model_fields[key].default) if isinstance(chosen, dict) else None
        if isinstance(name, str) and ":" not in name:
            try:
                yield from (f"{table}.{option}" for option in options(table, name))
            except FedloomError:
                continue


def annotated(experiment: Experiment) -> str:
    """An experiment as TOML that ``load`` reads: every key with its value and, as a comment, what it is for; options
    that are not set stand there as comments, with their defaults."""
    lines: list[str] = []
    for name, field in Experiment.model_fields.items():
        if name not in TABLES:
            lines.append(_line(name, getattr(experiment, name), field.description or ""))
            continue
        table, value = TABLES[name], getattr(experiment, name)
        about = inspect.cleandoc(table.__doc__ or "").split("\n\n")[0].replace("``", "`")
        lines += ["", *(f"# {line}" for line in about.splitlines()), f"[{name}]"]
        for key, one in table.model_fields.items():
            if key != "options":
                lines.append(_line(spelled(key), getattr(value, key), one.description or ""))
        if name in FREE:
            lines += _option_lines(name, value)
    return "\n".join(lines) + "\n"


def _line(key: str, value: Any, told: str, set: bool = True) -> str:
    about = " ".join(told.split()).replace("``", "`")
    return f"{'' if set else '# '}{_bare(key)} = {_toml(value)}".ljust(36) + f"  # {about}"


def _option_lines(table: str, chosen: AxisTable) -> list[str]:
    lines = [_line(key, value, f"Option of {chosen.choice!r}.") for key, value in chosen.options.items()]
    for key, parameter in options(table, chosen.choice).items():
        if key not in chosen.options and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            needed = parameter.default is parameter.empty
            told = f"Option of {chosen.choice!r}{', which needs it' if needed else ''}."
            lines.append(_line(key, "..." if needed else parameter.default, told, set=False))
    return lines


def _toml(value: Any) -> str:
    """A value on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_bare(key)} = {_toml(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(one) for one in value) + "]"
    return json.dumps(value, ensure_ascii=False, default=str).replace("\x7f", "\\u007f")


def _bare(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key, ensure_ascii=False)
