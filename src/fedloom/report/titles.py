"""Short names for runs that stand side by side, and what was changed in them."""

import shlex
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from fedloom.report.runs import Run

FIRST = ("method.name", "task.name", "scenario.name", "modality.name", "model.name", "sampling.name", "seed")
"""Keys that tell runs apart before all others do."""

SILENT = ("name", "engine", "split.host")
"""Keys, or tables, that say nothing about a result."""


def titles(runs: Sequence[Run]) -> list[str]:
    """A short name for each run, no two alike: its folder's without the overrides in it; where several would have
    one name, what tells them apart: ``fedavg``, ``scaffold, lr 0.001``."""
    own = [_own(run) for run in runs]
    found = list(own)
    for title in dict.fromkeys(own):
        alike = [number for number, name in enumerate(own) if name == title]
        if len(alike) > 1:
            for number, apart in zip(alike, _apart([runs[number] for number in alike]), strict=True):
                found[number] = apart or ", ".join([title, *changed(runs[number])])
    return [name if found.count(name) == 1 else f"{name} ({number})" for number, name in enumerate(found, start=1)]


def changed(run: Run) -> list[str]:
    """The overrides that the run was started with: of its command where the folder tells it, else of its name."""
    for start in run.starts[:1]:
        words = _split(start.command)
        if words[:1] == ["fedloom"] and "run" in words[:2]:
            after = [word for before, word in pairwise(words) if before == "--set"]
            return after + [word.removeprefix("--set=") for word in words if word.startswith("--set=")]
    return [] if run.name == run.settings.get("name") else [text for text in run.name.split("+")[1:] if "=" in text]


def _own(run: Run) -> str:
    return run.name if run.name == run.settings.get("name") else run.name.split("+")[0] or run.name


def _split(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:  # the file was written by hand
        return []


def _apart(runs: Sequence[Run]) -> list[str]:
    """The values of as few keys as tell the runs apart, as far as their settings do."""
    flat = [_flat(run.settings) for run in runs]
    keys = dict.fromkeys([*FIRST, *(key for one in flat for key in one)])
    chosen: list[str] = []
    groups = 1
    for key in keys:
        more = len({tuple(one.get(part) for part in (*chosen, key)) for one in flat})
        if more > groups:
            chosen.append(key)
            groups = more
        if groups == len(runs):
            break
    return [", ".join(_said(key, one[key]) for key in chosen if key in one) for one in flat]


def _said(key: str, value: str) -> str:
    table, _, leaf = key.rpartition(".")
    return value if leaf == "name" else f"{leaf if leaf != 'up' else table} {value}"


def _flat(settings: Mapping[str, Any], under: str = "") -> dict[str, str]:
    """Every key with its table before it, and its value as text."""
    found: dict[str, str] = {}
    for name, value in settings.items():
        key = f"{under}{name}"
        if key in SILENT:
            continue
        if isinstance(value, Mapping):
            found |= _flat(value, f"{key}.")
        elif isinstance(value, list):
            found[key] = " + ".join(map(str, value)) or "none"
        else:
            found[key] = f"{value:g}" if isinstance(value, float) else str(value)
    return found
