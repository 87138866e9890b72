"""Multi-Krum by hand and against Flower's."""

import pytest
import torch

from fedloom.core.contracts import Parcel
from fedloom.core.errors import FedloomError
from fedloom.methods.krum import krum
from fedloom.methods.multi_krum import multi_krum
from tests.methods.helpers import client, fold
from tests.methods.robust import after, agree, arrays, attackers, flower, honest, scalars, within

SIX = scalars(0.0, 1.0, 3.0, 4.0, 5.0, 20.0)
# f = 1, the three nearest: 0: 1 + 9 + 16 = 26; 1: 1 + 4 + 9 = 14; 3: 1 + 4 + 4 = 9; 4: 1 + 1 + 9 = 11;
# 5: 1 + 4 + 16 = 21; 20: 225 + 256 + 289


@pytest.mark.parametrize(("keep", "expected"), [(1, 3), (2, 3.5), (3, 8 / 3), (4, 13 / 4), (5, 13 / 5), (None, 8 / 3)])
def test_the_lowest_scores_are_averaged_plainly(keep: int | None, expected: float) -> None:
    assert after(multi_krum(byzantine=1, keep=keep), SIX)["a"].tolist() == pytest.approx([expected])


def test_left_alone_it_withstands_as_many_as_it_can() -> None:
    assert after(multi_krum(), SIX)["a"].tolist() == pytest.approx([8 / 3])  # f = 1, and 6 - 1 - 2 are kept


def test_keeping_one_is_krum() -> None:
    sent = [*honest(5), *attackers(2)]
    one, other = after(multi_krum(2, keep=1), sent), after(krum(2), sent)
    assert all(one[name].tolist() == other[name].tolist() for name in one)


@pytest.mark.parametrize(("good", "bad"), [(4, 1), (5, 2), (6, 3)])
def test_the_result_is_within_the_honest_ones(good: int, bad: int) -> None:
    fair = honest(good)
    assert within(after(multi_krum(bad), [*attackers(bad), *fair]), fair)
    assert within(after(multi_krum(bad, keep=good), [*attackers(1) * bad, *fair]), fair)


@pytest.mark.parametrize(("values", "expected"), [([7.0], 7), ([7.0, 1.0], 7), ([0.0, 1.0, 5.0], 0)])
def test_of_few_clients_one_is_kept(values: list[float], expected: float) -> None:
    assert after(multi_krum(), scalars(*values))["a"].tolist() == [expected]


def test_more_than_the_honest_ones_cannot_be_kept() -> None:
    with pytest.raises(FedloomError, match=r"multi-krum: keep is 6, but of 6 clients with 1 Byzantine.*at most 5"):
        after(multi_krum(keep=6), SIX)


def test_where_too_few_answer_all_that_may_be_honest_are_kept() -> None:
    method = multi_krum(keep=5)
    state = method.server.init({"a": torch.zeros(1)}, 1.0, 6)  # of six, 5 may be honest
    three = [(Parcel({"adapter": {"a": torch.tensor([value])}}), client(str(value))) for value in (1.0, 2.0, 6.0)]
    assert method.server.step(state, fold(method, state, three))["adapter"]["a"].tolist() == [3.0]


@pytest.mark.parametrize(("options", "named"), [({"byzantine": -1}, "byzantine is -1"), ({"keep": 0}, "keep is 0")])
def test_no_such_number(options: dict[str, int], named: str) -> None:
    with pytest.raises(FedloomError, match=f"multi-krum: {named}"):
        multi_krum(**options)


def test_too_many_byzantine_clients_are_refused() -> None:
    with pytest.raises(FedloomError, match="multi-krum: 6 clients cannot outvote 2"):
        after(multi_krum(byzantine=2), SIX)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("good", "bad", "keep"), [(4, 0, 2), (5, 1, 3), (7, 2, 7), (7, 3, 4)])
def test_it_is_flowers(good: int, bad: int, keep: int) -> None:
    sent = [*honest(good), *attackers(bad)]
    assert agree(after(multi_krum(bad, keep), sent), flower().aggregate_krum(arrays(sent), bad, keep))
