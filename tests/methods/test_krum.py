"""Krum by hand and against Flower's."""

import math
from itertools import combinations

import pytest
import torch

from fedloom.core.contracts import Parcel
from fedloom.core.errors import FedloomError
from fedloom.methods._robust import krum_scores
from fedloom.methods.krum import krum
from tests.methods.helpers import client, fold
from tests.methods.robust import after, agree, arrays, attackers, flower, honest, scalars

FIVE = scalars(0.0, 1.0, 3.0, 4.0, 20.0)


def test_scores_by_hand() -> None:
    # f = 1: the two nearest others. 0: 1 + 9; 1: 1 + 4; 3: 1 + 4; 4: 1 + 9; 20: 256 + 289
    assert krum_scores(FIVE, 1).tolist() == [10, 5, 5, 10, 545]
    # f = 0: the three nearest. 0: 1 + 9 + 16; 1: 1 + 4 + 9; 3: 1 + 4 + 9; 4: 1 + 9 + 16; 20: 256 + 289 + 361
    assert krum_scores(FIVE, 0).tolist() == [26, 14, 14, 26, 906]


def test_scores_are_over_the_whole_adapter() -> None:
    sent = [{"a": torch.tensor([[x]]), "b": torch.tensor([0.0, y])} for x, y in ((0.0, 0.0), (3.0, 4.0), (0.0, 1.0))]
    assert krum_scores(sent, 0).tolist() == [1, 18, 1]  # the one nearest: 5^2, 3^2 + 3^2, 1


def test_scores_of_nearly_equal_large_adapters_are_exact() -> None:
    # |x|^2 is 1e5 and a distance 2^-20: in float32, |x|^2 + |y|^2 - 2 x y would have no digit of it
    sent = [{"a": torch.ones(100_000)} for _ in range(4)]
    for number, shift in enumerate((0, 1, 2, 4)):
        sent[number]["a"][number] += shift * 2.0**-10
    assert (krum_scores(sent, 0) * 2**20).tolist() == [0 + 1 + 4, 1 + 5, 4 + 5, 16 + 17]


def test_the_lowest_score_wins_and_of_equal_ones_the_first_name() -> None:
    assert after(krum(), FIVE)["a"].tolist() == [1.0]
    replies = [(Parcel({"adapter": sent}), client(name)) for sent, name in zip(FIVE, "edcba", strict=True)]
    for order in (replies, replies[::-1]):  # 1.0 is of client d and 3.0 of client c
        state = krum().server.init(FIVE[0], 1.0, 5)
        assert fold(krum(), state, order).trees["adapter"]["a"].tolist() == [3.0]


@pytest.mark.parametrize(("count", "byzantine"), [(3, 0), (4, 0), (5, 1), (6, 1), (7, 2), (9, 3)])
def test_left_alone_it_withstands_as_many_as_it_can(count: int, byzantine: int) -> None:
    # the alternatives differ: with f one lower or higher, other neighbours count
    sent = scalars(*[1.7**number * (-1) ** (number // 2) for number in range(count)])
    assert after(krum(), sent)["a"] == after(krum(byzantine), sent)["a"]
    with pytest.raises(
        FedloomError, match=rf"{count} clients cannot outvote {byzantine + 1}.*at least {2 * byzantine + 5}"
    ):
        after(krum(byzantine + 1), sent)


@pytest.mark.parametrize(("good", "bad"), [(4, 1), (5, 2), (6, 3)])
def test_the_result_is_an_honest_client(good: int, bad: int) -> None:
    fair = honest(good)
    same = attackers(bad)[:1] * bad  # attackers that agree are near each other
    for result in (after(krum(bad), [*same, *fair]), after(krum(), [*fair, *attackers(bad)])):
        assert any(all(torch.equal(result[name], one[name]) for name in result) for one in fair)


def test_one_client_alone_is_the_result_and_of_two_the_first() -> None:
    assert after(krum(), scalars(7.0))["a"].tolist() == [7.0]
    assert after(krum(), scalars(7.0, 1.0))["a"].tolist() == [7.0]


@pytest.mark.parametrize(("clients", "byzantine"), [(1, 0), (2, 0), (4, 1), (4, 4), (4, 9)])
def test_too_many_byzantine_clients_are_refused_before_anything_is_trained(clients: int, byzantine: int) -> None:
    with pytest.raises(FedloomError, match=rf"krum: {clients} clients cannot outvote {byzantine} Byzantine.*Let at"):
        krum(byzantine).server.init(FIVE[0], 1.0, clients)


def test_of_too_few_replies_as_many_are_withstood_as_can_be() -> None:
    method = krum(byzantine=1)
    state = method.server.init(FIVE[0], 1.0, 5)
    replies = [(Parcel({"adapter": sent}), client(str(n))) for n, sent in enumerate(FIVE[:4])]
    assert method.server.step(state, fold(method, state, replies))["adapter"]["a"] == after(krum(0), FIVE[:4])["a"]


def test_no_such_number() -> None:
    with pytest.raises(FedloomError, match="krum: byzantine is -1"):
        krum(-1)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("good", "bad"), [(3, 0), (4, 1), (7, 2), (7, 3)])
def test_it_is_flowers(good: int, bad: int) -> None:
    sent = [*honest(good), *attackers(bad)]
    assert agree(after(krum(bad), sent), flower().aggregate_krum(arrays(sent), bad, 0))


def test_scores_are_sums_over_pairs() -> None:
    # with n - 2 neighbours a score is the sum over all others but the farthest
    sent, count = honest(5), 5
    apart = {
        pair: math.fsum(
            float((sent[pair[0]][n].double() - v.double()).square().sum()) for n, v in sent[pair[1]].items()
        )
        for pair in combinations(range(count), 2)
    }
    for place, score in enumerate(krum_scores(sent, 0).tolist()):
        mine = [distance for pair, distance in apart.items() if place in pair]
        assert score == pytest.approx(sum(mine) - max(mine), rel=1e-12)
