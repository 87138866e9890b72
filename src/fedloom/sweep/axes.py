"""Axes as people write them: a key and its values, each perhaps with further overrides behind it."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence

from fedloom.core import config
from fedloom.core.config import Experiment
from fedloom.core.errors import FedloomError, nearest

FURTHER = re.compile(r"\s+(?=\w+(?:\.\w+)*=)")
"""What stands between a value of an axis and the overrides that go with it."""


def parse(option: str, texts: Sequence[str]) -> dict[str, list[str]]:
    """The keys and values of texts such as ``client.lr=0.1,0.2``; ``option`` names where they come from.

    Raises:
        FedloomError: a text that is something else, or a key that is given twice.
    """
    chosen: dict[str, list[str]] = {}
    for text in texts:
        key, equals, values = text.partition("=")
        picked = _split(values)
        if not equals or not picked:
            raise FedloomError(f"{option} {text}: expected key=value,value, such as method.name=fedavg,scaffold.")
        if short(key) in map(short, chosen):
            raise FedloomError(f"{option} {text}: {short(key)!r} is given twice. Name all its values in one {option}.")
        chosen[key] = unique(picked)
    return chosen


def by_short_name(axes: Mapping[str, list[str] | dict[str, str]]) -> dict[str, list[str]]:
    """The axes by their short names, each value once; of one whose values have names, the names.

    Raises:
        FedloomError: an axis ``seed``, or an axis of names that is a key of the experiment.
    """
    if "seed" in axes:
        raise FedloomError("compare: every cell is run under several seeds already; use --seeds, and no axis seed.")
    for key, values in axes.items():
        if isinstance(values, dict) and key.partition(".")[0] in Experiment.model_fields:
            raise FedloomError(
                f"compare.axes.{key} gives its values names, and {key!r} is a key of the experiment. Fix: call the "
                "axis something else, such as row or column, or list its values."
            )
    return {short(key): unique(values) for key, values in axes.items()}


def only(axes: Mapping[str, list[str]], texts: Sequence[str]) -> dict[str, list[str]]:
    """The axes with no other values than those that texts such as ``column=a5,b30`` pick.

    Raises:
        FedloomError: no such axis, or no such value of it.
    """
    found = dict(axes)
    for key, values in parse("--only", texts).items():
        axis = short(key)
        if axis not in axes:
            raise FedloomError(f"--only {key}: it is no axis of this comparison. {nearest(axis, axes)}")
        found[axis] = [value_of(f"--only {key}", axes[axis], value) for value in values]
    return found


def value_of(place: str, values: Sequence[str], text: str) -> str:
    """The value of an axis that a text means: as it is given, as the tables show it, or by its first word alone.

    Raises:
        FedloomError: it means none, or several.
    """
    known = labels(values)
    exact = [given for given, label in known.items() if text in (given, label)]
    named = exact or [given for given in known if FURTHER.split(given)[0] == text]
    if len(named) != 1:
        told = ", ".join(map(repr, known.values()))
        raise FedloomError(f"{place}: {text!r}: it must name one of these values: {told}.")
    return named[0]


def matches(rules: Iterable[Mapping[str, Sequence[str]]], picked: Mapping[str, str]) -> bool:
    """Whether a combination of choices is one that a rule tells: of each axis that it names, one of its values."""
    return any(all(picked.get(axis) in values for axis, values in rule.items()) for rule in rules)


def short(key: str) -> str:
    """``method`` for ``method.name``."""
    table, _, leaf = key.partition(".")
    return table if leaf == "name" and table in config.FREE else key


def _split(text: str) -> list[str]:
    """The parts between commas that stand in no list and no quotes."""
    parts, depth, quoted = [""], 0, False
    for letter in text:
        quoted ^= letter == '"'
        depth += 0 if quoted else (letter == "[") - (letter == "]")
        if letter == "," and not depth and not quoted:
            parts.append("")
        else:
            parts[-1] += letter
    return [part for part in parts if part]


def overrides(first: Experiment, key: str, value: str) -> list[str]:
    """The overrides that a value of an axis stands for."""
    choice, *more = FURTHER.split(value)
    return [*([] if _own(first, key, choice) else [f"{key}={choice}"]), *more]


def _own(experiment: Experiment, key: str, value: str) -> bool:
    """Whether the experiment names this choice itself: then its own options stay."""
    return key in config.FREE and getattr(experiment, key).name == value


def labels(values: Sequence[str]) -> dict[str, str]:
    """Each value as the tables show it: of its further overrides, those that tell it from others of its name."""
    names = {value: plain(FURTHER.split(value)[0]) for value in values}
    groups: dict[str, list[list[str]]] = {}
    for value, name in names.items():
        groups.setdefault(name, []).append(FURTHER.split(value)[1:])
    shown = {}
    for value, name in names.items():
        own = [text for text in FURTHER.split(value)[1:] if not all(text in more for more in groups[name])]
        shown[value] = " ".join([name, *own])
    return shown


def plain(value: str) -> str:
    """A value with a list's brackets and quotes left out: ``topk:0.1 + int8``."""
    choice, *more = FURTHER.split(value)
    try:
        items = json.loads(choice)
    except ValueError:
        return value
    shown = (" + ".join(map(str, items)) or "none") if isinstance(items, list) else choice
    return " ".join([shown, *more])


def unique(values: Iterable[str]) -> list[str]:
    """Each value once, in the order of its first appearance."""
    return list(dict.fromkeys(values))
