"""From an experiment file and ``--set`` overrides to a checked Experiment, and back to TOML."""

import importlib
import inspect
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from fedloom.core import resolve
from fedloom.core.errors import FedloomError, nearest
from fedloom.core.files import read_text
from fedloom.core.tables import (
    AxisTable,
    CompareTable,
    DataTable,
    Experiment,
    MethodTable,
    SamplingTable,
    ScenarioTable,
    Table,
    TaskTable,
)

__all__ = ["PRESETS", "CompareTable", "Experiment", "check", "comparison", "dump", "load", "presets", "without"]

PRESETS = Path(__file__).parent.parent / "presets"
FREE: dict[str, type[AxisTable]] = {
    "task": TaskTable,
    "scenario": ScenarioTable,
    "sampling": SamplingTable,
    "method": MethodTable,
}
COMPARE = "compare"
"""The table that an experiment file may have beside the experiment."""
AXES = {"task": "tasks", "scenario": "scenarios", "sampling": "sampling", "method": "methods"}


def presets() -> list[str]:
    """The names of the experiments that ship."""
    return sorted(path.stem for path in PRESETS.glob("*.toml"))


def load(source: str | Path, overrides: Sequence[str] = ()) -> Experiment:
    """Read the experiment at ``source`` (a TOML file, or the name of a preset) with ``a.b=c`` overrides.

    An override's value is TOML, or else a string. ``scenario=iid`` (an axis alone) makes a fresh choice: the name
    changes and the options of the former choice go. Choices are made before options are set, so that the order of
    overrides drops none of them.

    Raises:
        FedloomError: no such file or preset; not TOML; an unknown key; a value of the wrong type or out of bounds.
    """
    raw = _read(_locate(source))
    for text in sorted(overrides, key=_is_option):
        _override(raw, text)
    return _validate(raw, source)


def comparison(source: str | Path) -> CompareTable:
    """The ``[compare]`` table of the file at ``source`` (as for ``load``), with its defaults where there is none.

    Raises:
        FedloomError: no such file or preset; not TOML; an unknown key; a value of the wrong type or out of bounds.
    """
    try:
        return CompareTable.model_validate(_read(_locate(source)).get(COMPARE, {}))
    except ValidationError as error:
        known = [f"{COMPARE}.{key}" for key in CompareTable.model_fields]
        raise _refusal(source, error, known, COMPARE) from None


def without(overrides: Sequence[str], *tables: str) -> list[str]:
    """The overrides of other tables than these: what a bound, with a method of its own, takes from an experiment."""
    return [text for text in overrides if text.partition("=")[0].partition(".")[0] not in tables]


def parse(text: str, source: str) -> Experiment:
    """The experiment that a TOML text holds; ``source`` names it in messages.

    Raises:
        FedloomError: as for ``load``.
    """
    try:
        return _validate(tomllib.loads(text), source)
    except tomllib.TOMLDecodeError as error:
        raise FedloomError(f"{source}: not valid TOML: {error}.") from None


def dump(experiment: Experiment) -> str:
    """The experiment as TOML with every default written out; ``load`` of it gives an equal experiment."""
    return tomli_w.dumps(experiment.model_dump())


def build(experiment: Experiment, key: str) -> Any:
    """What the axis table ``key`` (``task``, ``scenario``, ``sampling`` or ``method``) names, built with its options.

    A builder is also given, if it has such a parameter: ``path`` and ``on_bad`` of [data] (tasks; without a
    ``data.path`` they keep the builder's own defaults), ``fraction`` of [sampling], and the experiment's ``seed``
    (methods).

    Raises:
        FedloomError: an unknown name, an option that the choice does not have, is of the wrong type or out of bounds.
    """
    table: AxisTable = getattr(experiment, key)
    by_key: dict[str, dict[str, Any]] = {
        "task": experiment.data.model_dump(),
        "scenario": {},
        "sampling": {"fraction": experiment.sampling.fraction},
        "method": {"seed": experiment.seed},
    }
    given = by_key[key]
    parameters = inspect.signature(resolve.builder(AXES[key], table.name)).parameters
    _check_options(key, table, parameters.keys() - given)
    if key == "task" and experiment.data.path and "path" not in parameters:
        raise FedloomError(f"data.path = {experiment.data.path!r}: task {table.name!r} reads no folder. Leave it out.")
    if key == "task" and not experiment.data.path:
        own = {name for name, one in parameters.items() if one.default is not inspect.Parameter.empty}
        given = {k: value for k, value in given.items() if k not in own or value != getattr(DataTable(), k)}
    return resolve.build(AXES[key], table.name, table.options, **given)


def check(experiment: Experiment) -> None:
    """Refuse, before anything runs, what only the chosen tasks, scenarios, methods and stages know to be wrong.

    Raises:
        FedloomError: an unknown name, option or stage, an option of the wrong type or out of bounds.
    """
    for key in AXES:
        build(experiment, key)
    pipeline = importlib.import_module("fedloom.channel").pipeline
    pipeline(list(experiment.channel.up))
    pipeline(list(experiment.channel.down), down=True)


def _check_options(key: str, table: AxisTable, options: Iterable[str]) -> None:
    known = (set(options) | set(type(table).model_fields)) - {"options"}
    for option in table.options:
        if key == "task" and option in DataTable.model_fields:
            raise FedloomError(f"[task] {option} = {table.options[option]!r}: set data.{option} instead, in [data].")
        if option not in known:
            raise FedloomError(f"[{key}] {table.name!r} has no key {option!r}. {nearest(option, known)}")


def _validate(raw: dict[str, Any], source: str | Path) -> Experiment:
    try:
        return Experiment.model_validate({key: value for key, value in raw.items() if key != COMPARE})
    except ValidationError as error:
        raise _refusal(source, error, [*_keys(), COMPARE]) from None


def _locate(source: str | Path) -> Path:
    path = Path(source)
    if path.suffix == ".toml" or path.exists():
        return path
    preset = PRESETS / f"{source}.toml"
    if str(source) not in presets():
        raise FedloomError(
            f"{source}: no such experiment file, and no preset of that name. {nearest(str(source), presets())}"
        )
    return preset


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise FedloomError(f"{path}: not valid TOML: {error}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise FedloomError(f"{path}: cannot be read as an experiment file: {error}.") from None


def _keys() -> list[str]:
    """Every known key, as an override spells it."""
    keys = []
    for name, field in Experiment.model_fields.items():
        table = field.annotation
        if isinstance(table, type) and issubclass(table, Table):
            keys += [f"{name}.{key}" for key in table.model_fields if key != "options"]
        else:
            keys.append(name)
    return keys


def _is_option(override: str) -> bool:
    """Whether an override is no choice of an axis (``method=fedprox``, ``method.name=fedprox``)."""
    return override.partition("=")[0].removesuffix(".name") not in FREE


def _override(raw: dict[str, Any], text: str) -> None:
    key, equals, value = text.partition("=")
    if not equals:
        raise FedloomError(f"--set {text}: expected key=value, such as client.lr=0.01.")
    table, _, leaf = key.partition(".")
    free = table in FREE and "." not in leaf
    if key not in _keys() and not free:
        raise FedloomError(f"--set {text}: unknown key {key!r}. {nearest(key, _keys())}")
    if not leaf and not free:
        raw[table] = _value(value)
        return
    inner = raw.setdefault(table, {})
    if not isinstance(inner, dict):
        raise FedloomError(f"{table} = {inner!r}: expected a table, [{table}].")
    if not leaf:
        raw[table] = {k: v for k, v in inner.items() if k in FREE[table].model_fields} | {"name": value}
    else:
        inner[leaf] = _value(value)


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _refusal(source: str | Path, error: ValidationError, known: Sequence[str], *table: str) -> FedloomError:
    """What is wrong with a file, or with one ``table`` of it, whose keys are ``known``."""
    return FedloomError(f"{source}: " + "; ".join(_explain(one, known, table) for one in error.errors()) + ".")


def _explain(error: ErrorDetails, known: Sequence[str], table: Sequence[str]) -> str:
    key = ".".join(str(part) for part in (*table, *error["loc"]))
    if error["type"] == "extra_forbidden":
        return f"unknown key {key!r}. {nearest(key, known)}".removesuffix(".")
    if error["type"] == "missing":
        return f"{key!r} is missing"
    if error["type"] == "model_type":
        return f"{key} = {error['input']!r}: expected a table, [{key}]"
    expected = error["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    return f"{key} = {error['input']!r}: expected {expected}"
