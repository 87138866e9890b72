"""Whether two experiments are the same run: what decides a result, and what of it differs."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedloom.core import config
from fedloom.core.config import Experiment
from fedloom.core.contracts import Objective
from fedloom.core.errors import FedloomError

SHOWN = 8
"""Keys that are told where two experiments differ."""


def decisive(experiment: Experiment) -> dict[str, Any]:
    """The part of an experiment that decides its result: all but its name, how many workers run it, where a language
    model's host is, and for how long the others are waited for."""
    table = experiment.model_dump()
    table.pop("name")
    for key in ("workers", "superlink", "deadline", "patience"):
        table["engine"].pop(key)
    for key in ("host", "root_certificates", "deadline", "patience", "memory_mb"):
        table["split"].pop(key)
    return table


def difference(recorded: Experiment, asked: Experiment) -> str:
    """What of a folder's experiment is not as asked, key by key: ``client.lr: 0.001 in the folder, 0.01 asked for``."""
    left, right = _flat(decisive(recorded)), _flat(decisive(asked))
    keys = [key for key in (left | right) if left.get(key) != right.get(key)]
    told = [f"{key}: {left.get(key, 'not set')} in the folder, {right.get(key, 'not set')} asked for" for key in keys]
    return "; ".join(told[:SHOWN]) + (f"; and {len(told) - SHOWN} keys more" if len(told) > SHOWN else "")


def goes_on(began: Experiment, asked: Experiment) -> bool:
    """Whether a run that ``began`` as one experiment may go on as another: the same, or more rounds at a constant
    rate."""
    if decisive(began) | {"rounds": 0} != decisive(asked) | {"rounds": 0}:
        return False
    return asked.rounds == began.rounds or (asked.rounds > began.rounds and _steady(asked))


def _steady(experiment: Experiment) -> bool:
    """Whether rate and objective of a round depend on no number of rounds, so that a run may have more of them."""
    objective: Objective = config.build(experiment, "objective")
    return experiment.client.schedule == "constant" and experiment.client.warmup == 0 and objective.turn is None


def check_longer(path: Path, recorded: Experiment, asked: Experiment) -> None:
    """Refuse more rounds where those that were done depend on their number.

    Raises:
        FedloomError: the rates of the rounds that were done are those of a shorter run.
    """
    if not _steady(asked):
        warmup = f" with client.warmup = {asked.client.warmup:g}" if asked.client.warmup else ""
        if asked.client.schedule == "constant" and not warmup:
            raise FedloomError(
                f"{path}: rounds: {recorded.rounds} in the folder, {asked.rounds} asked for, and objective.name = "
                f"{asked.objective.name!r} depends on how many there are. Begin that run in another folder with --name "
                "or --out."
            )
        raise FedloomError(
            f"{path}: rounds: {recorded.rounds} in the folder, {asked.rounds} asked for, and client.schedule = "
            f"{asked.client.schedule!r}{warmup}: the rates of its rounds were those of {recorded.rounds} rounds, so "
            "that more would be another run. Begin that one in another folder with --name or --out; only runs of a "
            "constant rate go on."
        )


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The keys of nested tables as one, as overrides spell them; values as ``--set`` spells them."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: json.dumps(value)}
    return flat
