"""What a comparison runs: axes x seeds -> cells, each a run of its own, and the trials that choose rates for them."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fedloom.core import config
from fedloom.core.config import CompareTable, Experiment
from fedloom.core.errors import FedloomError, nearest
from fedloom.core.files import file_name
from fedloom.federation.check import check_experiment
from fedloom.sweep.axes import FURTHER, by_short_name, labels, matches, only, parse, plain, short, unique, value_of
from fedloom.sweep.axes import overrides as sets_of

BOUNDS = ("local", "centralised")
"""What every method stands between: each client alone, and all data in one place."""

ALONE = "run"
"""The one axis of an experiment that nothing is compared with."""

TUNING_SEED = 1_000_000
"""Added to the experiment's seed for the trials: rates are chosen under seeds that are never measured."""

Choices = dict[str, str]


@dataclass(frozen=True)
class Cell:
    """One combination of choices under one seed. ``axes`` has each choice as the tables show it, ``choices`` as it was
    given; ``chosen``: the tuned keys and their values, as given. A ``trial`` is measured on the validation part."""

    axes: Choices
    seed: int
    experiment: Experiment
    choices: Choices
    chosen: Choices = field(default_factory=dict)
    trial: bool = False

    @property
    def rates(self) -> Choices:
        """The tuned keys and their values, as the tables show them."""
        return {key: plain(value) for key, value in self.chosen.items()}

    @property
    def name(self) -> str:
        """The cell in words."""
        pairs = [f"{key}={value}" for key, value in (self.axes | self.rates).items()]
        return " ".join([*["trial"] * self.trial, *pairs, f"seed={self.seed}"])

    @property
    def folder(self) -> Path:
        """Where the run lies below the comparison's folder: ``cells/method=fedavg,scenario=iid/seed-0``."""
        return Path("tune" if self.trial else "cells") / _named(self.choices | self.chosen) / f"seed-{self.seed}"


@dataclass(frozen=True)
class Comparison:
    """The cells and trials of an experiment: ``axes`` by their short names, the rest as ``[compare]`` has it.
    ``named``: what the names of an axis' values stand for."""

    source: str
    overrides: tuple[str, ...]
    axes: dict[str, list[str]]
    table: CompareTable
    bounds: bool
    named: dict[str, dict[str, str]] = field(default_factory=dict)

    def cells(self, chosen: "Mapping[tuple[str, ...], Choices] | None" = None) -> list[Cell]:
        """Every cell, seeds innermost. ``chosen``: the tuned values by ``tuned_as``; combinations without are left out.

        Raises:
            FedloomError: an unknown key or value, or two values that would have one folder.
        """
        first = config.load(self.source, self.overrides)
        found = []
        for picked in self._combinations():
            rates = {} if chosen is None else chosen.get(tuple(self.tuned_as(picked).values()))
            for seed in range(first.seed, first.seed + self.table.seeds) if rates is not None else ():
                found.append(self._cell(first, picked, seed, rates or {}))
        return found

    @property
    def size(self) -> int:
        """How many cells there are, without reading them."""
        return len(self._combinations()) * self.table.seeds

    def trials(self) -> list[Cell]:
        """The runs that the tuned values are chosen by: the same grid for every combination, on the validation part.

        Raises:
            FedloomError: as ``cells``.
        """
        first = config.load(self.source, self.overrides)
        seeds = [first.seed + TUNING_SEED + number for number in range(self.table.tune_seeds)]
        tuned = [self.tuned_as(picked) for picked in self._combinations()] if self.table.tune else []
        alone = [dict(pairs) for pairs in dict.fromkeys(tuple(picked.items()) for picked in tuned)]
        grid = [dict(zip(self.table.tune, values, strict=True)) for values in _product(self.table.tune.values())]
        return [self._cell(first, p, seed, rates, trial=True) for p in alone for rates in grid for seed in seeds]

    def tuned_as(self, picked: Choices) -> Choices:
        """The combination whose trials choose for this one: the axes that nothing is chosen for have their first
        value."""
        over = self.axes if self.table.tune_over is None else [short(key) for key in self.table.tune_over]
        return {axis: value if axis in over else self.axes[axis][0] for axis, value in picked.items()}

    @property
    def baseline(self) -> Choices:
        """Axes and their values, as the tables show them, that the other rows are held against.

        Raises:
            FedloomError: no such axis or value, or one that names several.
        """
        default = "method" if "method" in self.axes else next(iter(self.axes))
        texts = self.table.baseline or [f"{default}={self.axes[default][0]}"]
        return dict(self._held_against(text) for text in texts)

    def _held_against(self, text: str) -> tuple[str, str]:
        key, equals, value = text.partition("=")
        axis = short(key)
        if not equals or axis not in self.axes:
            expected = f"an axis and one of its values, such as {next(iter(self.axes))}=VALUE"
            raise FedloomError(f"baseline {text!r}: expected {expected}. {nearest(axis, self.axes)}")
        return axis, labels(self.axes[axis])[value_of(f"baseline {text!r}", self.axes[axis], value)]

    def _combinations(self) -> list[Choices]:
        every = [dict(zip(self.axes, values, strict=True)) for values in _product(self.axes.values())]
        shown = {axis: labels(values) for axis, values in self.axes.items()}
        found = [one for one in every if not matches(self.table.skip, {k: shown[k][v] for k, v in one.items()})]
        if not found:
            raise FedloomError("compare: skip leaves no combination. Fix: take a rule out of it.")
        return found

    def _sets(self, first: Experiment, axis: str, value: str) -> list[str]:
        if axis in self.named:
            return [text for text in FURTHER.split(self.named[axis][value].strip()) if text]
        return sets_of(first, axis, value)

    def _all_sets(self, first: Experiment, picked: Choices) -> list[str]:
        sets: list[str] = []
        by: dict[str, str] = {}
        for axis, value in picked.items():
            for text in self._sets(first, axis, value):
                key = text.partition("=")[0]
                if by.setdefault(key, axis) != axis:
                    raise FedloomError(
                        f"compare: {key} is set by two axes, {by[key]} ({picked[by[key]]!r}) and {axis} ({value!r}). "
                        "Fix: leave it out of one of them, or let skip leave the combination out."
                    )
                sets.append(text)
        return sets

    def _cell(self, first: Experiment, picked: Choices, seed: int, rates: Choices, trial: bool = False) -> Cell:
        sets = self._all_sets(first, picked)
        for key in rates:
            if any(text.partition("=")[0] == key for text in sets):
                raise FedloomError(
                    f"compare: {key} is tuned with the same values for every row, and {' '.join(picked.values())!r} "
                    "sets it. Leave it out of the axis, or out of tune."
                )
        sets += [f"{key}={value}" for key, value in rates.items()]
        if trial:
            sets += ["evaluation.on=validation", "evaluation.every=0"]
        given = config.without(self.overrides, "method") if self.bounds and sets else self.overrides
        experiment = config.load(self.source, [*given, *sets, f"seed={seed}"])
        check_experiment(experiment)
        shown = {key: labels(self.axes[key])[value] for key, value in picked.items()}
        return Cell(shown, seed, experiment, picked, rates, trial)


def comparison(source: str, overrides: Sequence[str] = (), axes: Sequence[str] = (), **given: object) -> Comparison:
    """The comparison that a file's ``[compare]`` describes. What the command gives replaces what the file says:
    ``axes`` (texts such as ``method.name=fedavg,scaffold``) and keys of the table; ``tune`` as ``axes``. ``only``
    (texts alike) leaves of the file's axes no other values than these.

    Without axes in either, the experiment's own method stands between its two bounds. A value may carry further
    overrides after spaces: ``fedopt method.eta=0.01``. What an override fixes is not tuned, though the file says so.

    Raises:
        FedloomError: an axis that is no ``key=value,value``, or an unknown key.
    """
    table, first = config.comparison(source), config.load(source, overrides)
    fixed = {text.partition("=")[0] for text in overrides}
    tune = {key: values for key, values in table.tune.items() if key not in fixed}
    if texts := given.pop("tune", None):
        tune = parse("--tune", texts)  # type: ignore[arg-type]
        for key in fixed & tune.keys():
            raise FedloomError(f"compare: {key} is given with --set and with --tune. Leave one of them out.")
    picked: Any = given.pop("only", None) or []
    table = table.model_copy(update={key: value for key, value in given.items() if value} | {"tune": tune})
    written = parse("--axis", axes) or table.axes
    every = by_short_name(written)
    _check_rules(table, every)
    chosen = only(every, picked)
    for key in chosen.keys() & tune.keys():
        raise FedloomError(f"compare: {key} is an axis, and tuned as well. Leave one of them out.")
    if "seed" in tune:
        raise FedloomError("compare: a seed cannot be tuned. Leave it out of tune.")
    bounds = {"method": unique(["local", first.method.name, "centralised"])}
    named = {key: dict(values) for key, values in written.items() if isinstance(values, dict)}
    made = Comparison(source, tuple(overrides), chosen or bounds, table, bounds=not chosen, named=named)
    _check_axes(made)
    return made


def alone(made: Comparison) -> Comparison:
    """A comparison without axes as the experiment by itself, under its seeds; with axes, as it is."""
    if not made.bounds:
        return made
    return replace(made, axes={ALONE: ["as it is"]}, named={ALONE: {"as it is": ""}}, bounds=False)


def _check_axes(made: Comparison) -> None:
    """Refuse keys of ``[compare]`` that name an axis or a value which the comparison does not have.

    Raises:
        FedloomError: naming the key and what it names.
    """
    table = made.table
    for axis in map(short, table.tune_over or ()):
        if axis not in made.axes:
            raise FedloomError(f"compare: tune_over has {axis!r}, which is no axis. {nearest(axis, made.axes)}")
    if table.columns and short(table.columns) not in made.axes:
        told = nearest(table.columns, made.axes)
        raise FedloomError(f"compare: columns = {table.columns!r}, which is no axis of this comparison. {told}")
    _ = made.baseline


def _check_rules(table: CompareTable, axes: Mapping[str, Sequence[str]]) -> None:
    """Refuse a rule of ``skip`` or ``unranked`` that could not match anything.

    Raises:
        FedloomError: it names no axis, or no value of one.
    """
    for key, rules in (("skip", table.skip), ("unranked", table.unranked)):
        for axis, values in (pair for rule in rules for pair in rule.items()):
            if axis not in axes:
                raise FedloomError(f"compare: {key} names {axis!r}, which is no axis. {nearest(axis, axes)}")
            if key == "unranked" and axis == short(table.columns):
                raise FedloomError(
                    f"compare: unranked names {axis!r}, which stands in the columns; rows are what is ranked. Fix: "
                    "name other axes."
                )
            known = list(labels(axes[axis]).values())
            for value in (value for value in values if value not in known):
                raise FedloomError(f"compare: {key}: axis {axis!r} has no {value!r}. {nearest(value, known)}")


def _product(values: Iterable[Sequence[str]]) -> Iterable[tuple[str, ...]]:
    return itertools.product(*values)


def _named(choices: Choices) -> str:
    return file_name(",".join(f"{key}={plain(value)}" for key, value in choices.items()))
