"""From an experiment file and ``--set`` overrides to a checked Experiment, and back to TOML."""

import inspect
import tomllib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from fedloom.core import compose, keys, needs, reading, resolve, sources
from fedloom.core.comparing import CompareTable
from fedloom.core.contracts import Adapter
from fedloom.core.errors import FedloomError, nearest
from fedloom.core.keys import AXES, CHOICE, FREE, TABLES
from fedloom.core.sources import COMPARE, PRESETS, about, presets
from fedloom.core.spec import AdapterSpec
from fedloom.core.table import AxisTable, spelled
from fedloom.core.tables import DataTable, Experiment

__all__ = [
    "FREE",
    "PRESETS",
    "CompareTable",
    "Experiment",
    "about",
    "comparison",
    "dump",
    "load",
    "presets",
    "without",
]

TOLD = 8
"""Things that are wrong with a file of which an error tells."""

LONGEST = 400
"""Characters of a value in an error."""


def load(source: str | Path, overrides: Sequence[str] = ()) -> Experiment:
    """Read the experiment at ``source`` (a TOML file, or the name of a preset) with ``a.b=c`` overrides.

    An override's value is TOML, or else a string; one value makes a list where a list is asked for. ``scenario=iid``
    (a table alone) makes a choice: its name changes, and the options of the former choice go. Choices are made before
    options are set, so that the order of overrides drops none of them. The words of a preset's name may be joined by
    ``-``, ``_`` or ``/``, as those of a task's are.

    Raises:
        FedloomError: no such file or preset; not TOML; an unknown key; a value of the wrong type or out of bounds.
    """
    raw = sources.experiment(source)
    for text in sorted(overrides, key=_is_option):
        _override(raw, text)
    return _validate(raw, source)


def comparison(source: str | Path) -> CompareTable:
    """The ``[compare]`` table of the file at ``source`` (as for ``load``), with its defaults where there is none.

    Raises:
        FedloomError: no such file or preset, also for ``compare.like``; not TOML; an unknown key; a value of the wrong
            type or out of bounds.
    """
    table = sources.comparison(source)
    try:
        return CompareTable.model_validate(table)
    except ValidationError as error:
        known = [f"{COMPARE}.{key}" for key in CompareTable.model_fields]
        raise _refusal(source, error, lambda key: nearest(key, known), COMPARE) from None


def without(overrides: Sequence[str], *tables: str) -> list[str]:
    """The overrides of other tables than these: what a bound, with a method of its own, takes from an experiment."""
    return [text for text in overrides if text.partition("=")[0].partition(".")[0] not in tables]


def parse(text: str, source: str) -> Experiment:
    """The experiment that a TOML text holds; ``source`` names it in messages.

    Raises:
        FedloomError: as for ``load``.
    """
    try:
        raw = reading.toml(text)
    except ValueError as error:
        raise FedloomError(f"{source}: not valid TOML: {error}.") from None
    return _validate(raw, source)


def dump(experiment: Experiment) -> str:
    """The experiment as TOML with every default written out; ``load`` of it gives an equal experiment."""
    return tomli_w.dumps(experiment.model_dump())


def build(experiment: Experiment, key: str) -> Any:
    """What the axis table ``key`` (``task``, ``scenario``, ``sampling`` or ``method``) names, built with its options; a
    method with the client halves of ``method.with``.

    A builder is also given, if it has such a parameter: ``path`` and ``on_bad`` of [data] (tasks; without a
    ``data.path`` they keep the builder's own defaults), ``fraction`` of [sampling], and the experiment's ``seed``
    (methods, modalities).

    Raises:
        FedloomError: an unknown name, an option that the choice does not have, is of the wrong type or out of bounds;
            of a method, an adapter that is not what it needs.
    """
    table: AxisTable = getattr(experiment, key)
    by_key: dict[str, dict[str, Any]] = {
        "task": experiment.data.model_dump(),
        "scenario": {},
        "sampling": {"fraction": experiment.sampling.fraction},
        "objective": {},
        "modality": {"seed": experiment.seed},
        "method": {"seed": experiment.seed},
        "adapter": {"spec": AdapterSpec.of(experiment.adapter, experiment.adapter.rank)} if key == "adapter" else {},
    }
    given = by_key[key]
    parameters = inspect.signature(resolve.builder(AXES[key], table.choice)).parameters
    _check_options(key, table, parameters.keys() - given)
    if key == "task" and experiment.data.path and "path" not in parameters:
        raise FedloomError(
            f"data.path = {experiment.data.path!r}: task {table.choice!r} reads no folder. Leave it out."
        )
    if key == "task" and not experiment.data.path:
        own = {name for name, one in parameters.items() if one.default is not inspect.Parameter.empty}
        given = {k: value for k, value in given.items() if k not in own or value != getattr(DataTable(), k)}
    built = resolve.build(AXES[key], table.choice, table.options, **given)
    if key == "method":
        built = compose.extended(built, experiment.method, experiment.seed)
        adapter: Adapter = build(experiment, "adapter")
        needs.check(experiment, built, adapter)
        built = adapter.governs(built, experiment.rounds) if adapter.governs else built
    return built


def _check_options(key: str, table: AxisTable, options: Iterable[str]) -> None:
    known = (set(options) | {spelled(field) for field in type(table).model_fields}) - {"options"}
    for option in table.options:
        if key == "task" and option in DataTable.model_fields:
            raise FedloomError(f"[task] {option} = {table.options[option]!r}: set data.{option} instead, in [data].")
        if option not in known:
            raise FedloomError(f"[{key}] {table.choice!r} has no key {option!r}. {nearest(option, known)}")


def _validate(raw: dict[str, Any], source: str | Path) -> Experiment:
    try:
        return Experiment.model_validate({key: value for key, value in raw.items() if key != COMPARE})
    except ValidationError as error:
        raise _refusal(source, error, lambda key: keys.nearest_key(key, raw)) from None


def _is_option(override: str) -> bool:
    """Whether an override is no choice of an axis (``method=fedprox``, ``method.name=fedprox``)."""
    table, _, leaf = override.partition("=")[0].partition(".")
    return leaf not in ("", CHOICE.get(table))


def _override(raw: dict[str, Any], text: str) -> None:
    key, equals, value = text.partition("=")
    if not equals:
        raise FedloomError(f"--set {text}: expected key=value, such as client.lr=0.01.")
    table, _, leaf = key.partition(".")
    free = table in FREE and bool(leaf) and "." not in leaf
    if key not in keys.known() and key not in (*CHOICE, *keys.MOVED) and not free:
        raise FedloomError(f"--set {text}: {_no_key(key, raw)}")
    if not value.isprintable() and not value.isascii():
        value = _readable(text, value)
    if table not in TABLES:
        raw[table] = _value(value)
        return
    inner = raw.setdefault(table, {})
    if not isinstance(inner, dict):
        raise FedloomError(f"{table} = {inner!r}: expected a table, [{table}].")
    if leaf:
        inner[leaf] = _value(value)
        return
    raw[table] = sources.bare(inner, table) | {CHOICE[table]: value}


def _no_key(key: str, raw: dict[str, Any]) -> str:
    """What is wrong with a key that no override can set, and which ones can be."""
    table = key.partition(".")[0]
    if table == COMPARE:
        return "[compare] is set by the options of `fedloom compare`, such as --axis, --seeds and --tune."
    if key in TABLES:
        return f"[{key}] is a table; set one of its keys. {keys.of_table(key, raw)}"
    return f"unknown key {key!r}. {keys.nearest_key(key, raw)}"


def _readable(text: str, value: str) -> str:
    """A value that UTF-8 can write: a command line may hold bytes that are no text.

    Raises:
        FedloomError: it cannot.
    """
    try:
        value.encode()
    except UnicodeEncodeError:
        raise FedloomError(f"--set {text!a}: the value is no valid UTF-8.") from None
    return value


def _value(text: str) -> Any:
    try:
        return reading.toml(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    except ValueError as error:
        raise FedloomError(f"--set ...={text[:20]}...: {error}.") from None


Guess = Callable[[str], str]
"""From an unknown key to the tail of a message about it."""


def _refusal(source: str | Path, error: ValidationError, guess: Guess, *table: str) -> FedloomError:
    """What is wrong with a file, or with one ``table`` of it; ``guess`` knows its keys."""
    found = error.errors()
    told = "; ".join(_explain(one, guess, table) for one in found[:TOLD])
    told += f"; and {len(found) - TOLD} more" if len(found) > TOLD else ""
    return FedloomError(f"{source}: {told}{'' if told.endswith('?') else '.'}")


def _explain(error: ErrorDetails, guess: Guess, table: Sequence[str]) -> str:
    key = ".".join(spelled(str(part)) for part in (*table, *error["loc"]))
    if error["type"] == "extra_forbidden":
        return f"unknown key {key!r}. {guess(key)}".removesuffix(".")
    if error["type"] == "missing":
        return f"{key!r} is missing"
    if error["type"] == "model_type":
        return f"{key} = {_shown(error['input'])}: expected a table, [{key}]"
    expected = error["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    return f"{key} = {_shown(error['input'])}: expected {expected}"


def _shown(value: object) -> str:
    """A value that somebody wrote, not all of it where it is long."""
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
