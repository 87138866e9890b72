"""Rows against their baseline: matched by example, Holm by hand, and what is marked."""

import pytest
from scipy import stats

from fedloom.report import paired
from fedloom.report.intervals import Difference
from fedloom.report.paired import Held, Scored, difference, holm


def scored(**examples: float) -> Scored:
    return Scored(sum(examples.values()) / len(examples), dict(examples))


def test_examples_are_matched_by_id_whatever_their_order() -> None:
    found = difference({0: scored(a=1, b=0, c=1)}, {0: scored(c=1, a=0, b=0)})
    assert found is not None
    assert (found.mean, found.seeds, found.examples) == (pytest.approx(1 / 3), 1, 3)
    known = stats.ttest_rel([1, 0, 1], [0, 0, 1])
    assert found.p == pytest.approx(known.pvalue)


def test_only_seeds_and_examples_that_both_have_count() -> None:
    ours = {0: scored(a=1, b=1, c=0), 1: scored(a=1, b=0, c=0), 2: scored(a=0, b=0, c=0)}
    theirs = {1: scored(b=0, a=0, d=1), 0: scored(a=0, b=1, d=1)}
    found = difference(ours, theirs)
    assert found is not None
    assert (found.mean, found.seeds, found.examples) == (0.5, 2, 2)  # a: 1 and 1, b: 0 and 0


def test_other_examples_under_every_seed_are_over_seeds_alone() -> None:
    ours = {0: scored(a=1, b=1), 1: scored(c=1, d=0), 2: scored(e=0, f=1)}
    theirs = {0: scored(a=0, b=1), 1: scored(c=0, d=0), 2: scored(e=0, f=1)}
    found = difference(ours, theirs)
    known = stats.ttest_rel([1.0, 0.5, 0.5], [0.5, 0.0, 0.5])
    assert found is not None
    assert (found.examples, found.seeds, found.p) == (0, 3, pytest.approx(known.pvalue))


def test_where_clients_answered_it_is_over_seeds_alone() -> None:
    ours, theirs = ({seed: Scored(value, {}) for seed, value in enumerate(v)} for v in ([0.4, 0.6], [0.3, 0.3]))
    found = difference(ours, theirs)
    assert found is not None
    assert (found.mean, found.examples) == (pytest.approx(0.2), 0)
    assert found.p == pytest.approx(stats.ttest_rel([0.4, 0.6], [0.3, 0.3]).pvalue)


def test_nothing_in_common_is_no_difference() -> None:
    assert difference({0: scored(a=1)}, {1: scored(a=1)}) is None
    assert difference({0: scored(a=1)}, {0: scored(b=1)}) is None


def test_holms_p_by_hand() -> None:
    # sorted 0.01, 0.02, 0.03, 0.5 of four: 0.04, 0.06, max(0.06, 0.06), 0.5
    assert holm([0.03, None, 0.01, 0.5, 0.02]) == pytest.approx([0.06, None, 0.04, 0.5, 0.06])
    # 2 * 0.04 = 0.08, then 0.045 is raised to it; one above 1 is 1
    assert holm([0.045, 0.04]) == pytest.approx([0.08, 0.08])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def given(low: float, high: float, p: float) -> Held:
    return Held("method=fedavg", Difference((low + high) / 2, low, high, p, 3, 100))


def test_what_is_marked_and_how() -> None:
    found = paired.adjusted([given(0.01, 0.05, 0.001), None, given(0.001, 0.05, 0.04), given(-0.01, 0.03, 0.3)])
    assert [one and one.adjusted for one in found] == pytest.approx([0.003, None, 0.08, 0.3])
    assert [paired.shown(one) for one in found] == [
        "+3.0 [+1.0, +5.0] **", "\u2013", "+2.6 [+0.1, +5.0] *", "+1.0 [-1.0, +3.0]"
    ]  # fmt: skip
    assert paired.shown(Held("", Difference(0.02, None, None, None, 1, 0))) == "+2.0 (no interval)"


def test_the_standard_error_of_a_score() -> None:
    assert paired.standard_error(0.5, 100) == 0.05
    assert paired.standard_error(0.2, 700) == pytest.approx(0.01512, abs=1e-5)
