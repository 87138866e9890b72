"""Figures of many answers, by hand."""

import pytest
from sklearn.metrics import f1_score, roc_auc_score

from fedloom.core.contracts import Answered, Sample
from fedloom.core.metrics import accuracy, accuracy_where, hard_auc, macro_f1, soft_auc

CHOICES = ("(A) not-hateful", "(B) hateful")
GOOD, BAD = CHOICES


def sample(answer: str, **meta: str) -> Sample:
    return Sample(answer, None, None, "?", CHOICES, answer, meta=meta)


def said(right: str, read: str | None, weights: tuple[float, ...] = ()) -> Answered:
    return Answered(read or "Based on ...", read, float(read == right), weights)


def given(*pairs: tuple[str, str | None]) -> tuple[list[Sample], list[Answered]]:
    return [sample(right) for right, _ in pairs], [said(*pair) for pair in pairs]


def test_hard_auc_is_the_mean_of_the_two_recalls() -> None:
    # hateful: 2 of 3 found; not hateful: 1 of 2 -> (2/3 + 1/2) / 2
    found = hard_auc(BAD)(*given((BAD, BAD), (BAD, BAD), (BAD, GOOD), (GOOD, GOOD), (GOOD, BAD)))
    assert found == pytest.approx(7 / 12)


def test_an_unread_answer_is_wrong_where_the_released_code_has_it_as_a_third_class() -> None:
    """Hateful: one answer of two is unread; not hateful: both answers are "hateful", which is wrong.

    Ours: recalls 1/2 and 0, 0.25. The released code's scores are 1 and 2 against 1 and 1: of the four pairs two are
    tied and two are won by the answer that nobody could read, (2 * 1/2 + 2) / 4 = 0.75.
    """
    pairs = given((BAD, BAD), (BAD, None), (GOOD, BAD), (GOOD, BAD))
    assert hard_auc(BAD)(*pairs) == pytest.approx(0.25)
    index = {GOOD: 0, BAD: 1, None: 2}
    theirs = roc_auc_score([1, 1, 0, 0], [index[each.read] for each in pairs[1]])
    assert theirs == pytest.approx(0.75)
    # and where nothing at all can be read: wrong, where a constant would be at chance
    nothing = given((BAD, None), (GOOD, None))
    assert hard_auc(BAD)(*nothing) == 0.0
    assert roc_auc_score([1, 0], [2, 2]) == 0.5


def test_soft_auc_counts_the_pairs_that_are_in_order() -> None:
    samples = [sample(BAD), sample(BAD), sample(GOOD), sample(GOOD)]
    weights = [(0.1, 0.9), (0.7, 0.3), (0.6, 0.4), (0.7, 0.3)]
    # hateful 0.9, 0.3 against 0.4, 0.3: won 2, lost 1, tied 1
    answered = [said(one.answer, BAD, pair) for one, pair in zip(samples, weights, strict=True)]
    assert soft_auc(BAD)(samples, answered) == pytest.approx(2.5 / 4)
    assert soft_auc(GOOD)(samples, answered) == pytest.approx(2.5 / 4)  # the same pairs, seen from the other class
    assert soft_auc(BAD)(samples, [*answered[:3], said(GOOD, GOOD)]) is None  # a free answer has no weights


def test_an_area_needs_both_classes() -> None:
    assert hard_auc(BAD)(*given((BAD, BAD), (BAD, GOOD))) is None
    assert hard_auc(BAD)([], []) is None
    assert soft_auc(BAD)([sample(BAD)], [said(BAD, BAD, (0.5, 0.5))]) is None


def test_macro_f1_by_hand() -> None:
    """Truth a a a b b c, given a a b b - a ("-": unread).

    a: 2 hits, 1 miss, 1 false: F1 = 4 / 6; b: 1 hit, 1 miss (the unread one), 1 false: 2 / 4; c: 0. Mean: 7 / 18.
    As the released code has it, "-" is a prediction of class c: c is 0 all the same, since that one is of b.
    """
    pairs = given(("a", "a"), ("a", "a"), ("a", "b"), ("b", "b"), ("b", None), ("c", "a"))
    assert macro_f1(*pairs) == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)


def test_an_unread_answer_is_no_prediction_of_a_class() -> None:
    """Truth a b c, given a - -. Ours: a is 1, b and c are 0: 1/3. As class c: c has 1 hit and 1 false, 2/3: 5/9."""
    samples, answered = given(("a", "a"), ("b", None), ("c", None))
    assert macro_f1(samples, answered) == pytest.approx(1 / 3)
    theirs = f1_score(["a", "b", "c"], [each.read or "c" for each in answered], average="macro", zero_division=0)
    assert theirs == pytest.approx(5 / 9)


def test_macro_f1_is_the_usual_one_where_all_is_read() -> None:
    right, read = list("aabbccdd"), list("abbbcadd")
    found = macro_f1(*given(*zip(right, read, strict=True)))
    assert found == pytest.approx(f1_score(right, read, average="macro"))
    assert macro_f1(*given(("a", "b"))) == 0.0
    assert macro_f1(*given(("a", None))) == 0.0
    assert macro_f1([], []) is None


def test_accuracy_over_all_and_over_a_part() -> None:
    samples = [sample("x", answer_type=kind) for kind in ("OPEN", "OPEN", "CLOSED", "unknown")]
    answered = [Answered("", None, score) for score in (1.0, 0.0, 1.0, 0.0)]
    assert accuracy(samples, answered) == 0.5
    assert accuracy_where("answer_type", "OPEN")(samples, answered) == 0.5
    assert accuracy_where("answer_type", "CLOSED")(samples, answered) == 1.0
    assert accuracy_where("answer_type", "other")(samples, answered) is None
    assert accuracy([], []) is None
