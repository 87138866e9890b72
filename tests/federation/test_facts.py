"""Every number that a reply says has its range."""

from typing import Any

import pytest

from fedloom.core.contracts import Parcel
from fedloom.core.errors import FedloomError
from fedloom.federation.facts import MOST_BYTES, Told, check_scores, check_turn, costs_the_reply, split_bytes

TURN: dict[str, Any] = {"examples": 6, "steps": 3, "loss": 0.7}


def test_a_good_turn() -> None:
    split = {"split_up": 0, "split_down": MOST_BYTES}
    for more in ({}, {"private": 1}, {"rank": 2}, split, {"loss": 1e10}, {"steps": 0}):
        check_turn(Parcel({}, TURN | more), held=6, steps=3)
    check_turn(Parcel({}, {"examples": 6, "steps": 3}), held=6, steps=3)  # a site may keep its loss


@pytest.mark.parametrize(
    ("fact", "value"),
    [
        *(("examples", value) for value in (5, 7, 6.0, "6", True, -6, 2**62)),
        *(("steps", value) for value in (-1, 4, 2**62, 1.0, "3", True)),
        *(("loss", value) for value in (-3e38, 3e38, 1.1e10, "low", float("nan"))),
        *(("split_up", value) for value in (-1, 2**62, 1.0, "much")),
        *(("private", value) for value in (0, 2, "yes")),
        ("bonus", 1),
    ],
)
def test_what_is_out_of_range_is_named(fact: str, value: Any) -> None:
    with pytest.raises(FedloomError, match=f"fact '{fact}'"):
        check_turn(Parcel({}, TURN | {fact: value}), held=6, steps=3)


def test_scores() -> None:
    assert check_scores(Parcel({}, {"score": 2.5, "tested": 3}), 3) == Told(3, 2.5)
    assert check_scores(Parcel({}, {"score": 0, "tested": 3, "private": 1}), 3) == Told(3, 0.0, alone=False)
    for score, tested in ((3.1, 3), (-0.1, 3), (float("nan"), 3), (1.0, 4), (1.0, 3.0), ("1", 3), (None, 3)):
        with pytest.raises(FedloomError, match="its score is"):
            check_scores(Parcel({}, {"score": score, "tested": tested}), 3)  # type: ignore[dict-item]
    assert split_bytes(Parcel({}, {"split_up": 7})) == {"split_up": 7}


def test_figures_and_unparsed_answers() -> None:
    said: dict[str, Any] = {"score": 2, "tested": 3, "unparsed": 1, "metric.auc": 0.75}
    found = check_scores(Parcel({}, said), 3, ("auc", "macro-F1"), parses=True)
    assert found == Told(3, 2.0, 1, {"auc": 0.75})  # macro-F1 is not defined there
    assert check_scores(Parcel({}, said), 3) == Told(3, 2.0)  # nobody asked
    for fact, value, told in (
        ("unparsed", 2, "its score is 2 over 3 examples, expected one from 0 to 1"),  # two of three are wrong
        ("unparsed", -1, "fact 'unparsed' is -1"),
        ("unparsed", None, "fact 'unparsed' is None, expected how many of 3 answers"),
        ("unparsed", 0.5, "fact 'unparsed' is 0.5"),
        ("metric.auc", 1.5, "fact 'metric.auc' is 1.5, expected a number from 0 to 1"),
        ("metric.auc", True, "fact 'metric.auc' is True"),
        ("metric.auc", "high", "fact 'metric.auc' is 'high'"),
        ("metric.auc", float("nan"), "fact 'metric.auc' is nan"),
    ):
        with pytest.raises(FedloomError, match=told):
            check_scores(Parcel({}, said | {fact: value}), 3, ("auc",), parses=True)


def test_whatever_a_reply_makes_go_wrong_costs_that_reply() -> None:
    for error in (KeyError("x"), MemoryError(), RecursionError(), TypeError("unhashable")):
        with pytest.raises(FedloomError, match=f"the reply cannot be used: {type(error).__name__}"), costs_the_reply():
            raise error
    with pytest.raises(FedloomError, match=r"^as it is$"), costs_the_reply():
        raise FedloomError("as it is")
