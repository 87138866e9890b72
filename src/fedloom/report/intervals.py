"""How sure a score and a difference of two scores are: intervals, over test examples and over seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

LEVEL = 0.95
"""The confidence level of every interval."""


@dataclass(frozen=True)
class Difference:
    """A paired difference of two mean scores with its confidence interval and two-sided p-value.

    ``seeds``, ``examples``: what it was taken over (0 examples: only the seeds' means were known). ``low``, ``high``
    and ``p`` are ``None`` where nothing can be said of the uncertainty: one seed, no examples.
    """

    mean: float
    low: float | None
    high: float | None
    p: float | None
    seeds: int
    examples: int

    @property
    def beyond_noise(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


def proportion(mean: float, count: int) -> tuple[float, float]:
    """Wilson's score interval of a mean of ``count`` scores from 0 to 1 (Wilson 1927).

    With p the mean, n the count and z the normal quantile: ``(p + z^2/2n ± z sqrt(p (1 - p) / n + z^2/4n^2)) /
    (1 + z^2/n)``. For scores between 0 and 1 it is wider than it need be.

    Raises:
        ValueError: count < 1, or a mean outside [0, 1].
    """
    if count < 1 or not 0 <= mean <= 1:
        raise ValueError(f"expected a mean from 0 to 1 of at least one score, found {mean!r} of {count!r}")
    z = float(stats.norm.ppf(0.5 + LEVEL / 2))
    middle = mean + z * z / (2 * count)
    reach = z * math.sqrt(mean * (1 - mean) / count + z * z / (4 * count * count))
    whole = 1 + z * z / count
    return max(0.0, (middle - reach) / whole), min(1.0, (middle + reach) / whole)


def paired(ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]]) -> Difference:
    """The difference of two methods' mean scores, ``ours - theirs``; both are ``[seeds, examples]``, in one order.

    Seeds and examples are both samples: another seed trains another model, another test half asks other questions.
    The differences d[s, i] are taken as a two-way layout of random effects, whose mean has the variance::

        (MS_seeds + MS_examples - MS_rest) / (seeds * examples)

    with the mean squares of the analysis of variance, each of the two effects at least zero, and Satterthwaite's
    degrees of freedom (Satterthwaite 1946). What two methods have in common on an example or under a seed cancels.
    With one seed the interval is over examples alone, with one example over seeds alone (a paired t-test).

    Raises:
        ValueError: the two are not of one shape, or empty.
    """
    one, other = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
    if one.shape != other.shape or one.ndim != 2 or not one.size:
        raise ValueError(f"expected two arrays [seeds, examples] of one shape, found {one.shape} and {other.shape}")
    found = one - other
    seeds, examples = found.shape
    if seeds == 1 or examples == 1:
        variance, freedom = _one_way(found.ravel())
    else:
        variance, freedom = _two_way(found)
    return _difference(float(found.mean()), variance, freedom, seeds, examples)


def paired_means(ours: Sequence[float], theirs: Sequence[float]) -> Difference:
    """The same where only the mean of each seed is known: a paired t-test over seeds.

    Means over few examples may well differ by the same step under each of a few seeds. That is no spread to judge by,
    so nothing is said of the uncertainty then.
    """
    found = paired([[value] for value in ours], [[value] for value in theirs])
    if found.mean and found.low == found.high:
        return Difference(found.mean, None, None, None, found.seeds, 0)
    return Difference(found.mean, found.low, found.high, found.p, found.seeds, 0)


def _one_way(values: np.ndarray) -> tuple[float, float]:
    """Variance of the mean of one sample, and its degrees of freedom."""
    return (float(values.var(ddof=1)) / len(values), len(values) - 1.0) if len(values) > 1 else (0.0, 0.0)


def _two_way(values: np.ndarray) -> tuple[float, float]:
    """The same of a two-way layout ``[seeds, examples]`` of random effects; one below the noise counts as none."""
    seeds, examples = values.shape
    by_seed, by_example = values.mean(axis=1), values.mean(axis=0)
    rest = values - by_seed[:, None] - by_example[None, :] + values.mean()
    free = (seeds - 1) * (examples - 1)
    noise = float((rest**2).sum()) / free
    of_seeds, of_examples = examples * float(by_seed.var(ddof=1)), seeds * float(by_example.var(ddof=1))
    first, second = of_seeds > noise, of_examples > noise
    terms = [(first * of_seeds, seeds - 1), (second * of_examples, examples - 1), ((1 - first - second) * noise, free)]
    square = sum(term for term, _ in terms)
    spread = sum(term * term / degrees for term, degrees in terms)
    return square / (seeds * examples), square * square / spread if spread else 0.0


def _difference(mean: float, variance: float, freedom: float, seeds: int, examples: int) -> Difference:
    if seeds * examples == 1:
        return Difference(mean, None, None, None, seeds, examples)
    error = math.sqrt(variance)
    if not error:  # the same difference everywhere
        return Difference(mean, mean, mean, 0.0 if mean else 1.0, seeds, examples)
    reach = error * float(stats.t.ppf(0.5 + LEVEL / 2, freedom))
    p = 2 * float(stats.t.sf(abs(mean) / error, freedom))
    return Difference(mean, mean - reach, mean + reach, p, seeds, examples)
