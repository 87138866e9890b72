"""Dealing a task's examples to clients, as a scenario's proportions say.

         clients                          each group's examples are shuffled by the group's own seed stream and
          0    1    2                     cut by its row; the counts are made whole by largest remainders, so
lucide  [1.0  0.0  0.0]                   every index is dealt exactly once
remix   [0.0  0.5  0.5]  x sizes [8, 6]
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fedloom.core.contracts import Scenario
from fedloom.core.errors import FedloomError, nearest
from fedloom.core.seeds import Seeds

Meta = Sequence[Mapping[str, str]]
FILE_NAME = re.compile(r"\w[\w.+-]{0,99}")
ALL = "all"
"""The one group of a scenario without ``by``."""


@dataclass(frozen=True)
class Partition:
    """Who holds what: for each client its name and its indices into the train and test halves, ascending."""

    train: list[list[int]]
    test: list[list[int]]
    names: list[str]


def deal(scenario: Scenario, train_meta: Meta, test_meta: Meta, clients: int, minimum: int, seeds: Seeds) -> Partition:
    """Deal both halves to ``clients``; the same on every machine for the same seeds.

    A client short of ``minimum`` training examples gets them one by one from whoever has most. The test half is dealt
    with the same shares, and each client has at least one test example where there are as many as clients. Groups
    that only the test half has are dealt evenly. A client's name is its group's where every client has exactly one
    group and every group one client (and the groups' names are plain words that differ in more than case), else its
    number.

    Raises:
        FedloomError: more clients than examples, a minimum that cannot be met, examples without the field ``by``, or
            proportions that are not shares.
    """
    if clients * minimum > len(train_meta):
        raise FedloomError(
            f"scenario: {clients} clients with at least {minimum} training examples each need {clients * minimum}, "
            f"but there are {len(train_meta)}; lower scenario.clients or scenario.minimum."
        )
    train_groups, test_groups = _groups(scenario.by, train_meta), _groups(scenario.by, test_meta)
    sizes = np.array([len(members) for members in train_groups.values()])
    rows = scenario.proportions(sizes, clients, seeds.numpy("partition/proportions"))
    _check(rows, len(sizes), clients, scenario.partial)
    shares = dict(zip(train_groups, rows, strict=True))
    evenly = np.full(clients, 1 / clients)
    train = _cut(train_groups, shares, evenly, seeds, "train", scenario.partial)
    test = _cut(test_groups, {g: row if row.any() else evenly for g, row in shares.items()}, evenly, seeds, "test")
    _fill(train, minimum)
    _fill(test, 1 if len(test_meta) >= clients else 0)
    return Partition(
        [sorted(mine) for mine in train], [sorted(mine) for mine in test], _names(scenario, shares, clients)
    )


def holdings(partition: Partition, by: str | None, train_meta: Meta, test_meta: Meta) -> dict[str, Any]:
    """Who holds what, counted by the meta field ``by``: what ``partition.json`` in a run folder holds.

    Returns ``{"by": str, "groups": [str], "clients": [{"name", "train": {group: count}, "test": {group: count}}]}``.
    """
    halves = {"train": (_groups(by, train_meta), partition.train), "test": (_groups(by, test_meta), partition.test)}
    clients: list[dict[str, Any]] = [{"name": name} for name in partition.names]
    for half, (groups, dealt) in halves.items():
        group_of = {index: group for group, members in groups.items() for index in members}
        for client, mine in zip(clients, dealt, strict=True):
            client[half] = dict(sorted(Counter(group_of[index] for index in mine).items()))
    return {"by": by or "", "groups": sorted({*halves["train"][0], *halves["test"][0]}), "clients": clients}


def _groups(by: str | None, meta: Meta) -> dict[str, list[int]]:
    """Group -> its indices, groups in sorted order."""
    if by is None:
        return {ALL: list(range(len(meta)))} if len(meta) else {}
    found: dict[str, list[int]] = {}
    for index, fields in enumerate(meta):
        if by not in fields:
            raise FedloomError(f"scenario.by = {by!r}: example {index} has no such field. {nearest(by, fields)}")
        found.setdefault(fields[by], []).append(index)
    return dict(sorted(found.items()))


def _check(rows: np.ndarray, groups: int, clients: int, partial: bool) -> None:
    good = rows.shape == (groups, clients) and bool(np.all(rows >= 0))
    sums = rows.sum(axis=1) if good else np.zeros(0)
    if not good or not (np.all(sums <= 1 + 1e-8) if partial else np.allclose(sums, 1)):
        raise FedloomError(
            f"scenario: its proportions have shape {rows.shape}; expected {groups} groups x {clients} clients, "
            f"no negative share, and each row to sum to {'at most 1' if partial else '1'}."
        )


def _cut(
    groups: Mapping[str, list[int]],
    shares: Mapping[str, np.ndarray],
    evenly: np.ndarray,
    seeds: Seeds,
    half: str,
    partial: bool = False,
) -> list[list[int]]:
    dealt: list[list[int]] = [[] for _ in evenly]
    for group, members in groups.items():
        order = seeds.numpy(f"partition/{half}/{group}").permutation(members).tolist()
        row = shares.get(group, evenly)
        if not row.any():
            continue  # nobody holds any
        ends = np.cumsum(whole(row, round(row.sum() * len(members)) if partial else len(members)))
        for mine, end, count in zip(dealt, ends, np.diff(ends, prepend=0), strict=True):
            mine += order[end - count : end]
    return dealt


def whole(shares: np.ndarray, total: int) -> np.ndarray:
    """Counts that sum to ``total`` in proportion to ``shares``: largest remainders, ties to the lower client."""
    quotas = np.round(shares / shares.sum() * total, 6)  # so that no platform's last bits decide anything
    counts: np.ndarray = np.floor(quotas).astype(int)
    order = np.argsort(-(quotas - counts), kind="stable")
    counts[order[: total - counts.sum()]] += 1
    return counts


def _fill(dealt: list[list[int]], minimum: int) -> None:
    for mine in dealt:
        while len(mine) < minimum:
            mine.append(max(dealt, key=len).pop())


def _names(scenario: Scenario, shares: Mapping[str, np.ndarray], clients: int) -> list[str]:
    held = np.array(list(shares.values())) > 0
    if scenario.by is not None and len(shares) == clients and (held.sum(0) == 1).all() and (held.sum(1) == 1).all():
        names = [list(shares)[group] for group in held.argmax(axis=0)]
        apart = len({name.casefold() for name in names}) == clients  # some file systems take "A" and "a" for one name
        if apart and all(FILE_NAME.fullmatch(name) for name in names):
            return names
    return [str(client) for client in range(clients)]
