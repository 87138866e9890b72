"""Intervals against figures worked out by hand, SciPy's tests, and coverage of what was drawn."""

import math

import numpy as np
import pytest
from scipy import stats

from fedloom.report.intervals import paired, paired_means, proportion


def test_a_proportion_has_wilsons_interval() -> None:
    # 8 of 10: (0.8 + 3.8415/20 -+ 1.95996 sqrt(0.016 + 0.0096036)) / 1.38415, by hand
    assert proportion(0.8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    other = stats.binomtest(41, 50).proportion_ci(0.95, method="wilson")
    assert proportion(0.82, 50) == pytest.approx((other.low, other.high), abs=1e-9)


def test_a_proportion_of_none_or_all_stays_within_zero_and_one() -> None:
    assert proportion(0.0, 5)[0] == 0.0
    assert proportion(1.0, 5)[1] == 1.0
    for mean, count in ((0.5, 0), (1.5, 3), (math.nan, 3)):
        with pytest.raises(ValueError, match="expected a mean"):
            proportion(mean, count)


def test_over_seeds_alone_it_is_the_paired_t_test() -> None:
    ours, theirs = [0.42, 0.44, 0.41, 0.45], [0.40, 0.41, 0.40, 0.41]
    found, known = paired_means(ours, theirs), stats.ttest_rel(ours, theirs)
    interval = known.confidence_interval(0.95)
    assert (found.p, found.low, found.high) == pytest.approx((known.pvalue, interval.low, interval.high))
    assert (found.mean, found.seeds, found.examples) == (pytest.approx(0.025), 4, 0)
    assert found.beyond_noise


def test_over_the_examples_of_one_seed_it_is_the_paired_t_test() -> None:
    ours, theirs = [[1.0, 0, 1, 1, 0, 1]], [[0.0, 0, 1, 0, 1, 1]]
    found, known = paired(ours, theirs), stats.ttest_rel(ours[0], theirs[0])
    assert found.p == pytest.approx(known.pvalue)
    assert not found.beyond_noise


def test_a_two_way_layout_by_hand() -> None:
    # differences [[1, 0, 2], [3, 0, 0]]: mean 1, seeds 1, 1; examples 2, 0, 1; so MS_seeds = 0, MS_examples = 2,
    # rest [[-1, 0, 1], [1, 0, -1]], MS_rest = 4 / 2 = 2: neither effect is above the noise, variance 2 / 6, 2 degrees
    found = paired([[1.0, 0, 2], [3, 0, 0]], [[0.0] * 3] * 2)
    assert found.mean == pytest.approx(1.0)
    assert found.p == pytest.approx(2 * stats.t.sf(1 / math.sqrt(1 / 3), 2))
    # differences [[5, 4, 3], [1, 2, 0]]: seeds 4, 1: MS 3 * 4.5 = 13.5; examples 3, 3, 1.5: MS 2 * 0.75 = 1.5;
    # rest [[.5, -.5, 0], [-.5, .5, 0]], MS 0.5; variance (13.5 + 1.5 - 0.5) / 6, degrees
    # 14.5^2 / (182.25 + 1.125 + .125)
    found = paired([[5.0, 4, 3], [1, 2, 0]], [[0.0] * 3] * 2)
    assert found.mean == pytest.approx(2.5)
    assert found.p == pytest.approx(2 * stats.t.sf(2.5 / math.sqrt(14.5 / 6), 14.5**2 / 183.5))


def test_equal_and_single_values() -> None:
    alone = paired([[1.0]], [[0.0]])
    assert (alone.mean, alone.low, alone.high, alone.p, alone.beyond_noise) == (1.0, None, None, None, False)
    same = paired([[1.0, 0.0]] * 3, [[1.0, 0.0]] * 3)
    assert (same.low, same.high, same.p, same.beyond_noise) == (0.0, 0.0, 1.0, False)
    with pytest.raises(ValueError, match="of one shape"):
        paired([[1.0, 0.0]], [[1.0]])


def test_one_step_under_every_seed_is_no_spread_to_judge_by() -> None:
    found = paired_means([0.5, 0.75], [0.25, 0.5])
    assert (found.mean, found.low, found.high, found.p, found.beyond_noise) == (0.25, None, None, None, False)
    assert paired_means([0.5, 0.25], [0.5, 0.25]).p == 1.0


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    """Two methods that are equally good, with effects of seed and example: zero is within 19 times of 20."""
    normal, within, trials = np.random.default_rng(0).standard_normal, 0, 1000
    for _ in range(trials):
        drawn = 0.02 * normal((5, 1)) + 0.2 * normal((1, 80)) + normal((5, 80)) / 3
        within += not paired(drawn, np.zeros_like(drawn)).beyond_noise
    assert 0.93 < within / trials < 0.98
