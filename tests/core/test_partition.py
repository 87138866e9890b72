import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedloom.core.contracts import Scenario
from fedloom.core.errors import FedloomError
from fedloom.core.partition import Partition, deal, holdings, whole
from fedloom.core.seeds import Seeds


def fixed(rows: list[list[float]], by: str | None = "pack") -> Scenario:
    return Scenario(by=by, proportions=lambda sizes, clients, rng: np.array(rows))


def meta(counts: dict[str, int]) -> list[dict[str, str]]:
    return [{"pack": pack} for pack, count in counts.items() for _ in range(count)]


def test_largest_remainders_by_hand() -> None:
    # quotas 3.5, 2.1, 1.4 -> floors 3, 2, 1; the one left goes to the largest remainder, 0.5
    assert whole(np.array([0.5, 0.3, 0.2]), 7).tolist() == [4, 2, 1]
    # 10/3 each: the one left goes to the lowest client
    assert whole(np.array([0.29, 0.71]), 100).tolist() == [29, 71]  # 0.29 * 100 is 28.999999999999996
    assert whole(np.array([0.5, 0.500005]), 10**6).sum() == 10**6  # within what a scenario may be off
    assert whole(np.full(3, 1 / 3), 10).tolist() == [4, 3, 3]


def test_groups_are_cut_by_their_rows() -> None:
    train, test = meta({"a": 4, "b": 6}), meta({"a": 2, "b": 2})
    part = deal(fixed([[1, 0], [0.5, 0.5]]), train, test, clients=2, minimum=1, seeds=Seeds(0))
    assert [len(mine) for mine in part.train] == [7, 3]
    assert [len(mine) for mine in part.test] == [3, 1]
    assert {0, 1, 2, 3} < set(part.train[0])
    assert part.names == ["0", "1"]


def test_the_richest_fills_up_the_poor() -> None:
    part = deal(fixed([[1, 0, 0]], by=None), [{}] * 9, [{}] * 3, clients=3, minimum=2, seeds=Seeds(0))
    assert [len(mine) for mine in part.train] == [5, 2, 2]
    assert [len(mine) for mine in part.test] == [1, 1, 1]


def test_one_group_a_client_lends_its_name() -> None:
    part = deal(fixed([[0, 1], [1, 0]]), meta({"a": 3, "b": 3}), meta({"a": 1, "b": 1}), 2, 1, Seeds(0))
    assert part.names == ["b", "a"]


def test_a_name_that_is_no_file_name_is_not_lent() -> None:
    half = meta({"../a": 3, "b": 3})
    assert deal(fixed([[0, 1], [1, 0]]), half, half, 2, 1, Seeds(0)).names == ["0", "1"]


def test_groups_that_only_the_test_half_has_are_dealt_evenly() -> None:
    part = deal(fixed([[0, 1], [1, 0]]), meta({"a": 3, "b": 3}), meta({"c": 4}), 2, 1, Seeds(0))
    assert [len(mine) for mine in part.test] == [2, 2]


def test_holdings_count_what_each_client_has() -> None:
    part = Partition(train=[[0, 1, 2], [3]], test=[[0], [1]], names=["x", "y"])
    assert holdings(part, "pack", meta({"a": 2, "b": 2}), meta({"a": 1, "c": 1})) == {
        "by": "pack",
        "groups": ["a", "b", "c"],
        "clients": [
            {"name": "x", "train": {"a": 2, "b": 1}, "test": {"a": 1}},
            {"name": "y", "train": {"b": 1}, "test": {"c": 1}},
        ],
    }
    assert holdings(part, None, [{}] * 4, [{}] * 2)["groups"] == ["all"]


def test_groups_that_differ_in_case_alone_name_no_clients() -> None:
    for groups, names in ((["A", "a"], ["0", "1"]), (["A", "b"], ["A", "b"])):
        train = meta(dict.fromkeys(groups, 2))
        assert deal(fixed([[1, 0], [0, 1]], by="pack"), train, [], 2, 1, Seeds(0)).names == names


def test_more_clients_than_examples() -> None:
    with pytest.raises(FedloomError, match=r"5 clients with at least 2 .* need 10, but there are 4"):
        deal(fixed([[1]], by=None), [{}] * 4, [], 5, 2, Seeds(0))


def test_a_missing_field_names_those_there_are() -> None:
    with pytest.raises(FedloomError, match=r"scenario.by = 'pakc'.*'pack'"):
        deal(fixed([[1]], by="pakc"), meta({"a": 3}), [], 1, 1, Seeds(0))


@pytest.mark.parametrize("rows", [[[0.5, 0.6]], [[1.5, -0.5]], [[float("nan"), 1]], [[1.0]]])
def test_proportions_that_are_no_shares(rows: list[list[float]]) -> None:
    with pytest.raises(FedloomError, match="expected 1 groups x 2 clients"):
        deal(fixed(rows, by=None), [{}] * 9, [{}] * 2, 2, 1, Seeds(0))


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_each_index_once_and_the_minimum_met(data: st.DataObject) -> None:
    groups = data.draw(st.integers(1, 5))
    train = data.draw(st.lists(st.integers(0, groups - 1), min_size=1, max_size=60))
    test = data.draw(st.lists(st.integers(0, groups), max_size=20))
    minimum = data.draw(st.integers(1, 3))
    if len(train) < minimum:
        return
    clients = data.draw(st.integers(1, len(train) // minimum))
    alpha = data.draw(st.sampled_from([0.01, 1.0, 100.0]))
    scenario = Scenario("g", lambda sizes, n, rng: rng.dirichlet(np.full(n, alpha), size=len(sizes)))
    halves = [{"g": str(g)} for g in train], [{"g": str(g)} for g in test]
    part = deal(scenario, *halves, clients, minimum, Seeds(3))
    assert sorted(index for mine in part.train for index in mine) == list(range(len(train)))
    assert sorted(index for mine in part.test for index in mine) == list(range(len(test)))
    assert min(map(len, part.train)) >= minimum
    assert len(part.names) == len(set(part.names)) == clients
    assert part == deal(scenario, *halves, clients, minimum, Seeds(3))
