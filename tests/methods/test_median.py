"""The median by hand, against NumPy's and Flower's."""

import numpy as np
import pytest
import torch

from fedloom.core.errors import FedloomError
from fedloom.methods.median import median
from tests.methods.helpers import adapter
from tests.methods.robust import after, agree, arrays, attackers, flower, honest, scalars, within


@pytest.mark.parametrize(
    ("values", "expected"), [([7], 7), ([1, 4], 2.5), ([9, 1, 2], 2), ([8, 1, 3, 2], 2.5), ([5, 5, 5, 0, 9], 5)]
)
def test_the_middle_value_or_the_mean_of_the_two(values: list[float], expected: float) -> None:
    assert after(median(), scalars(*values))["a"].tolist() == [expected]


def test_each_entry_has_its_own_median() -> None:
    sent = [{"a": torch.tensor(row)} for row in ([1.0, 30.0, -2.0], [2.0, 10.0, -1.0], [3.0, 20.0, -3.0])]
    assert after(median(), sent)["a"].tolist() == [2.0, 20.0, -2.0]


def test_a_large_tensor_and_one_without_axes_are_numpys_median() -> None:
    rng = np.random.default_rng(0)
    sent = [
        {"a": rng.normal(size=(300, 301)).astype(np.float32), "b": np.float32(number**2)} for number in range(4)
    ]  # 90300 entries: more than are looked at together
    found = after(median(), [{n: torch.as_tensor(v) for n, v in tree.items()} for tree in sent])
    assert np.allclose(found["a"].numpy(), np.median([tree["a"] for tree in sent], axis=0), atol=1e-7)
    assert (found["b"].shape, found["b"].item()) == ((), 2.5)  # 0 1 4 9


@pytest.mark.parametrize(("good", "bad"), [(2, 1), (4, 3), (5, 2)])
def test_fewer_than_half_cannot_move_an_entry_beyond_the_honest_ones(good: int, bad: int) -> None:
    fair = honest(good)
    assert within(after(median(), [*attackers(bad), *fair]), fair)


def test_half_of_them_can() -> None:
    fair = honest(1)
    assert not within(after(median(), [*attackers(1), *fair]), fair)


def test_the_bits_do_not_depend_on_the_order() -> None:
    sent = honest(6)
    forth, back = after(median(), sent), after(median(), sent[::-1])
    assert all(torch.equal(forth[name], back[name]) for name in forth)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("count", [5, 6])
def test_it_is_flowers(count: int) -> None:
    sent = [*honest(count - 1), *attackers(1)]
    assert agree(after(median(), sent), flower().aggregate_median(arrays(sent)))


def test_a_reply_with_other_tensors_is_refused() -> None:
    whole = adapter()
    fewer = {name: value for name, value in whole.items() if name != "head.weight"}
    with pytest.raises(FedloomError, match=r"client '1' lacks tensor 'head\.weight'"):
        after(median(), [whole, fewer])
