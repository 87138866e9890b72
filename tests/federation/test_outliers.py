"""Which replies are out of proportion: lengths and medians worked out by hand."""

import math

import pytest
import torch

from fedloom.core.contracts import Parcel, Tree
from fedloom.federation.outliers import Lengths, Memory


def lengths(factor: float = 10.0, steps: dict[str, int] | None = None, **moved: float) -> Lengths:
    """Clients that moved an adapter of one number so far from 5."""
    found = Lengths(factor, steps or dict.fromkeys(moved, 1))
    for name, far in moved.items():
        found.add(name, Parcel({"adapter": {"a": torch.tensor([5.0 + far])}}), {"a": torch.tensor([5.0])})
    return found


def odd(found: Lengths) -> set[str]:
    return set(found.odd(*found.steps))


def test_the_length_is_that_of_the_change_over_all_tensors() -> None:
    # 3^2 + 4^2 + 12^2 = 13^2; control is measured as it is
    start = {"a": torch.tensor([1.0, 1.0]), "b": torch.tensor([[2.0]])}
    after = {"a": torch.tensor([4.0, 5.0]), "b": torch.tensor([[14.0]])}
    found = Lengths(10.0, {"0": 1})
    found.add("0", Parcel({"adapter": after, "control": {"a": torch.tensor([3.0, 4.0]), "n": torch.tensor(7)}}), start)
    assert found.found == {"adapter": {"0": 13.0}, "control": {"0": 5.0}}


@pytest.mark.parametrize(
    ("moved", "expected"),
    [
        ([1.0, 1.0, 10.0], set()),  # exactly ten times the median
        ([1.0, 1.0, 10.5], {"c"}),
        ([1.0, 1.0, 2.0, 30.0, 30.0], {"d", "e"}),
        ([1.0, 2.0, 25.0, 30.0], set()),  # of four the upper median is 25
        ([1.0, 1.0, 1.0, 30.0], {"d"}),
        ([1e-9, 1e-9, 5.0, 5.0, 5.0], set()),  # attackers that hardly move make no honest client odd
        ([0.0, 0.0, 0.0, 5.0, 7.0], set()),  # two that moved: which of them is odd?
        ([0.0, 0.0, 1.0, 1.0, 11.0], {"e"}),
        ([1.0, 1e30], set()),
        ([3.0], set()),
    ],
)
def test_by_hand(moved: list[float], expected: set[str]) -> None:
    found = Lengths(10.0, dict.fromkeys("abcde"[: len(moved)], 1))
    for name, far in zip("abcde", moved, strict=False):
        reply = Parcel({"adapter": {"a": torch.tensor([far], dtype=torch.float64)}})
        found.add(name, reply, {"a": torch.zeros(1, dtype=torch.float64)})
    assert odd(found) == expected


def test_more_steps_may_go_farther_and_fewer_as_far() -> None:
    # a and b took 1 step, c 50: it may go 10 x 50, but not more; and what took one step may go 10 x as far as any
    steps = {"a": 1, "b": 1, "c": 50}
    assert odd(lengths(steps=steps, a=1.0, b=1.0, c=400.0)) == set()
    assert odd(lengths(steps=steps, a=1.0, b=1.0, c=600.0)) == {"c"}
    steps = {"a": 50, "b": 50, "c": 1}
    assert odd(lengths(steps=steps, a=1.0, b=1.0, c=9.0)) == set()
    assert odd(lengths(steps=steps, a=1.0, b=1.0, c=11.0)) == {"c"}


def test_more_steps_are_no_excuse_for_another_slot() -> None:
    found = Lengths(10.0, {"a": 1, "b": 1, "c": 50})
    for name, size in (("a", 1.0), ("b", 1.0), ("c", 11.0)):
        found.add(name, Parcel({"control": {"x": torch.tensor([size])}}), {})
    assert "slot 'control' of length 11" in found.odd("c")["c"]


@pytest.mark.parametrize("large", [1e20, 3e38])
def test_what_no_float_holds_is_infinitely_far(large: float) -> None:
    start: Tree = {"a": torch.tensor([-large]), "b": torch.zeros(1)}
    found = Lengths(10.0, dict.fromkeys("abc", 1))
    for name, value in (("a", -large), ("b", -large), ("c", large)):
        found.add(name, Parcel({"adapter": {"a": torch.tensor([value]), "b": torch.ones(1)}}), start)
    assert odd(found) == {"c"}
    assert found.farthest == "c"
    assert math.isinf(found.found["adapter"]["c"]) == (large == 3e38)


def test_zero_has_nobody_be_odd_and_bounded_slots_are_not_looked_at() -> None:
    assert odd(lengths(0.0, a=1.0, b=1.0, c=1e30)) == set()
    found = Lengths(10.0, dict.fromkeys("abc", 1), bounded=("fisher",))
    for name, size in (("a", 1.0), ("b", 1.0), ("c", 1e30)):
        found.add(name, Parcel({"fisher": {"x": torch.tensor([size])}}), {})
    assert odd(found) == set()


def test_who_moved_farthest_is_measured_by_what_was_expected_of_it() -> None:
    # c moved farther than d, but was given a hundred times the steps
    found = lengths(steps={"a": 1, "b": 1, "c": 100, "d": 1}, a=1.0, b=1.0, c=50.0, d=9.0)
    assert found.farthest == "d"
    found.drop("d")
    assert found.farthest == "a"
    assert lengths(a=1.0, b=1e30).farthest == "b"
    assert lengths(a=2.0).farthest == "a"


def test_a_run_remembers_how_far_its_medians_reached() -> None:
    # for each step: 4 / 4, 3 / 1 and 2 / 1: the upper median is 2
    found = lengths(steps={"a": 4, "b": 1, "c": 1}, a=4.0, b=3.0, c=2.0)
    assert found.reached() == {"adapter": 2.0}
    found.reach = {"adapter": 7.0, "control": 1.5}
    assert found.reached() == {"adapter": 7.0, "control": 1.5}
    memory = Memory({"b", "a"}, {"adapter": 2.0})
    assert Memory.read(memory.text()) == memory
    assert Memory.read("") == Memory()


def test_no_cohort_may_move_far_beyond_what_earlier_ones_did() -> None:
    # three of four are attackers: the median is theirs. 2 for each step, ten times as far, times the factor of 10
    moved = {"a": 200.0, "b": 201.0, "c": 500.0, "d": 1.0}
    found = lengths(**moved)
    assert odd(found) == set()
    found.reach = {"adapter": 2.0}
    assert odd(found) == {"b", "c"}
    more = lengths(steps={"a": 3}, a=600.0)
    more.reach = {"adapter": 2.0}
    assert odd(more) == set()  # three steps
    more.reach = {"adapter": 1.9}
    assert odd(more) == {"a"}


def test_a_client_that_says_it_holds_millions_may_not_move_millions_of_times_as_far() -> None:
    steps = {"a": 1, "b": 1, "c": 10**7}
    assert odd(lengths(steps=steps, a=1.0, b=1.0, c=9.9e3)) == set()  # ten times a thousand
    assert odd(lengths(steps=steps, a=1.0, b=1.0, c=1.1e4)) == {"c"}


def test_a_thousand_clients_are_told_apart_by_as_many_medians_as_there_are_numbers_of_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []
    found = Lengths(10.0, {str(number): number % 7 for number in range(1000)})
    found.found["adapter"] = dict.fromkeys(found.steps, 1.0) | {"500": 1e3}
    honest = Lengths._expected

    def noted(self: Lengths, slot: str, steps: int) -> float:
        asked.append(steps)
        return honest(self, slot, steps)

    monkeypatch.setattr(Lengths, "_expected", noted)
    assert set(found.odd(*found.steps)) == {"500"}
    assert sorted(asked) == [*range(7)]
