"""A comparison's rows held against their baseline: paired differences, and which of them are beyond the noise.

This is the one place where it is decided what a table marks:

``*``   the difference's own 95% interval leaves out zero. Of N comparisons without any effect about N / 20 do.
``**``  so it does with all comparisons of the table counted (Holm 1979): its adjusted p is below 0.05.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from fedloom.federation.record import RunFolder
from fedloom.federation.written import MEAN, Result
from fedloom.report import words
from fedloom.report.intervals import LEVEL, Difference, paired, paired_means


@dataclass(frozen=True)
class Scored:
    """One finished run: its final score, and each example's by id (none where clients answered, where the score is no
    mean of theirs, or where the folder is older)."""

    final: float
    examples: dict[str, float]


@dataclass(frozen=True)
class Held:
    """A row's difference from its baseline. ``adjusted``: Holm's p among all comparisons of the table."""

    against: str
    difference: Difference
    adjusted: float | None = None

    @property
    def mark(self) -> str:
        """``"**"``, ``"*"`` or nothing: see above."""
        if not self.difference.beyond_noise:
            return ""
        return "**" if self.adjusted is not None and self.adjusted < round(1 - LEVEL, 9) else "*"


def scored(folder: Path, result: Result) -> Scored | None:
    """The scores of a finished run; ``None`` where it has no final one."""
    if result.final is None:
        return None
    if result.figure != MEAN:
        return Scored(result.final, {})
    after: dict[str, Any] = RunFolder(folder).read_json("after.json") or {}
    ids, scores = after.get("ids", []), after.get("scores", [])
    known = dict(zip(ids, scores, strict=True)) if len(ids) == len(scores) else {}
    return Scored(result.final, known if len(known) == len(scores) else {})


def difference(ours: Mapping[int, Scored], theirs: Mapping[int, Scored]) -> Difference | None:
    """The paired difference of two rows over the seeds that both have, matched by example.

    Where the examples are the same under every seed, over seeds and examples; where they are not, or only the seeds'
    means are known, over seeds. ``None``: no seed, or under one no example, in common.
    """
    seeds = sorted(ours.keys() & theirs.keys())
    if not seeds:
        return None
    pairs = [(ours[seed], theirs[seed]) for seed in seeds]
    if not all(one.examples and other.examples for one, other in pairs):
        return paired_means([one.final for one, _ in pairs], [other.final for _, other in pairs])
    common = [[name for name in one.examples if name in other.examples] for one, other in pairs]
    if not all(common):
        return None
    if all(set(names) == set(common[0]) for names in common):
        return paired(*([[pair[side].examples[name] for name in common[0]] for pair in pairs] for side in (0, 1)))
    means = [
        [fmean(p[side].examples[n] for n in names) for p, names in zip(pairs, common, strict=True)] for side in (0, 1)
    ]
    return paired_means(*means)


def holm(values: Sequence[float | None]) -> list[float | None]:
    """Holm's adjusted p-values (Holm 1979), in the given order: with p_1 <= ... <= p_m the i-th is the largest of
    min(1, (m - j + 1) p_j) over j <= i. ``None`` is no comparison."""
    known = sorted((p, place) for place, p in enumerate(values) if p is not None)
    found: list[float | None] = [None] * len(values)
    highest = 0.0
    for rank, (p, place) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - rank) * p))
        found[place] = highest
    return found


def adjusted(held: Sequence[Held | None]) -> list[Held | None]:
    """The same with Holm's p among all of them."""
    ps = holm([one.difference.p if one else None for one in held])
    return [one and replace(one, adjusted=p) for one, p in zip(held, ps, strict=True)]


def shown(held: Held | None) -> str:
    """A difference in points as people read it: ``+3.4 [+1.0, +5.8] **``."""
    if held is None:
        return words.MISSING
    found = held.difference
    if found.low is None or found.high is None:
        return f"{_points(found.mean)} (no interval)"
    return f"{_points(found.mean)} [{_points(found.low)}, {_points(found.high)}] {held.mark}".rstrip()


def _points(value: float) -> str:
    text = f"{100 * value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text


def standard_error(score: float, examples: int) -> float:
    """The standard error of one score over ``examples`` of them that are right or wrong: sqrt(p (1 - p) / n)."""
    return math.sqrt(score * (1 - score) / examples)
