"""What a comparison's table says below itself: what was measured, what a difference is, and what its marks mean."""

from collections.abc import Sequence
from statistics import fmean

from fedloom.federation.measured import WORDS
from fedloom.federation.written import CLIENTS, MEAN, WHOLE
from fedloom.report import words
from fedloom.report.paired import standard_error
from fedloom.report.table import Row
from fedloom.sweep.tuning import Candidate, at_an_end

HOW = {WHOLE: "of all test examples together", CLIENTS: "that is averaged over the clients, each over its own examples"}
"""What a score is that is no mean of examples' scores, by ``Result.figure``."""


def sentences(rows: Sequence[Row], baseline: dict[str, str], candidates: Sequence[Candidate] = ()) -> list[str]:
    """The legend of a table, for people: the same below every form of it."""
    told = (_measured(rows), _figure(rows), _unparsed(rows), _spread(rows))
    return [text for text in (*told, *_held(rows, baseline), *_chosen(candidates)) if text]


def _measured(rows: Sequence[Row]) -> str:
    counts = sorted({row.measured.examples for row in rows})
    parts = " and ".join(sorted({WORDS.get(row.measured.on, row.measured.on) for row in rows}))
    finals = [mean for row in rows if (mean := row.stats["final"].mean) is not None]
    if not counts[0] or not finals:
        return f"Measured on the {parts}."
    told = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    if any(row.figure != MEAN for row in rows):
        return f"Measured on the {parts}: {told} examples."
    score = fmean(finals)
    error = 100 * standard_error(min(max(score, 0.0), 1.0), counts[0])
    return (
        f"Measured on the {parts}: {told} examples. A score of {words.score(score)} over {counts[0]} of them has a "
        f"standard error of {error:.1f} points, from the examples alone."
    )


def _figure(rows: Sequence[Row]) -> str:
    """What the scores are, where they are no means of each example's: such a score has no parts to pair by example."""
    kinds = {(row.metric, row.figure): None for row in rows if row.figure != MEAN}
    if not kinds:
        return ""
    told = " and ".join(f"{metric} is a figure {HOW[figure]}" for metric, figure in kinds)
    return f"{told}, no mean of examples' scores: differences in it are paired over seeds alone."


def _unparsed(rows: Sequence[Row]) -> str:
    """Whether every answer was parsed, as far as the folders tell."""
    stats = [row.stats["unparsed"] for row in rows]
    if any(one.mean for one in stats):
        return "unparsed: the share of answers that could not be parsed; each counts as a wrong one."
    known = [row for row, one in zip(rows, stats, strict=True) if one.n]
    return "Every answer was parsed." if len(known) == len(rows) else ""


def _spread(rows: Sequence[Row]) -> str:
    most = max(row.stats["final"].n for row in rows)
    return "\N{PLUS-MINUS SIGN}: sample standard deviation over the n seeds." if most > 1 else ""


def _held(rows: Sequence[Row], baseline: dict[str, str]) -> list[str]:
    held = [row.held for row in rows if row.held]
    if not held:
        return []
    known = [one for one in held if one.difference.p is not None]
    against = " ".join(f"{axis}={value}" for axis, value in baseline.items())
    over = " or ".join(dict.fromkeys(_over(one.difference.seeds, one.difference.examples) for one in held))
    count = len(known)
    return [
        f"difference: final score less that of {against} with the same other choices, in points, with its 95% "
        f"interval, paired {over}.",
        f"{count} comparison{'s' * (count != 1)}. *: the interval leaves out zero, which chance alone does about once "
        "in 20 comparisons. **: it does so with all comparisons of this table counted (Holm's p is below 0.05). "
        "Every other difference is within the noise.",
    ]


def _over(seeds: int, examples: int) -> str:
    if seeds == 1:
        return "over the examples of one seed (which says nothing about another seed)" if examples else "under one seed"
    return "over seeds and examples" if examples else "over seeds alone"


def _chosen(candidates: Sequence[Candidate]) -> list[str]:
    if not candidates:
        return []
    grid = {key: list(dict.fromkeys(c.values[key] for c in candidates)) for key in candidates[0].values}
    told = "; ".join(f"{key} out of {', '.join(values)}" for key, values in grid.items())
    examples = max(c.examples for c in candidates)
    found = [
        f"Chosen for each row: {told}; the same values for all, on a validation part of the training half "
        f"({examples} examples) under seeds that are not measured. tune.csv has every score."
    ]
    if ends := at_an_end(candidates):
        taken = sum(c.taken for c in candidates)
        found.append(f"{len(ends)} of {taken} choices are at an end of their grid: a better value may lie beyond it.")
    return found
