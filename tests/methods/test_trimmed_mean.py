"""The trimmed mean by hand and against Flower's."""

import pytest
import torch

from fedloom.core.errors import FedloomError
from fedloom.methods.trimmed_mean import trimmed_mean
from tests.methods.robust import after, agree, arrays, attackers, flower, honest, scalars, within

TEN = [100.0, 1, 2, 3, 4, 5, 6, 7, 8, -100]


@pytest.mark.parametrize(
    ("cut", "values", "expected"),
    [
        (0.1, [7], 7),
        (0.4, [1, 4], 2.5),
        (0.0, [1, 2, 9], 4),
        (0.1, TEN, 4.5),  # 36 / 8
        (0.19, TEN, 4.5),  # int(1.9) = 1
        (0.2, [9, 1, 2, 3, 60], 14 / 3),  # (2 + 3 + 9) / 3
        (0.24, [1, 2, 3, 10], 2.5),  # int(0.96) = 0, but from three clients on one goes at either end
        (0.1, [1, 2, 1e38], 2),
        (0.1, [1, 2], 1.5),
        (0.25, [1, 2, 3, 10], 2.5),
        (0.49, [1, 2, 3, 4, 50], 3),  # int(2.45) = 2: the median
    ],
)
def test_the_extremes_are_dropped(cut: float, values: list[float], expected: float) -> None:
    assert after(trimmed_mean(cut), scalars(*values))["a"].tolist() == pytest.approx([expected])


@pytest.mark.parametrize(
    ("cut", "count", "dropped"), [(0.29, 100, 29), (0.28, 25, 7), (0.07, 100, 7), (0.145, 200, 29)]
)
def test_counts_are_exact(cut: float, count: int, dropped: int) -> None:
    values = [float(2**n) if n < 30 else float(n) for n in range(count)]
    kept = sorted(values)[dropped : count - dropped]
    assert after(trimmed_mean(cut), scalars(*values))["a"].item() == pytest.approx(sum(kept) / len(kept), rel=1e-6)


def test_each_entry_drops_its_own_extremes() -> None:
    sent = [{"a": torch.tensor([float(n), (n - 2.0) ** 2])} for n in range(5)]  # 0 1 2 3 4 and 4 1 0 1 4
    assert after(trimmed_mean(0.2), sent)["a"].tolist() == [2.0, 2.0]


def test_as_many_attackers_as_are_cut_stay_within_the_honest_ones() -> None:
    fair = honest(8)
    assert within(after(trimmed_mean(0.2), [*attackers(2), *fair]), fair)
    assert not within(after(trimmed_mean(0.1), [*attackers(3), *fair]), fair)


def test_the_bits_do_not_depend_on_the_order() -> None:
    sent = honest(6)
    forth, back = after(trimmed_mean(0.2), sent), after(trimmed_mean(0.2), sent[::-1])
    assert all(torch.equal(forth[name], back[name]) for name in forth)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("count", "cut"), [(10, 0.1), (5, 0.2), (8, 0.3), (9, 0.45)])
def test_it_is_flowers(count: int, cut: float) -> None:
    sent = honest(count)
    assert agree(after(trimmed_mean(cut), sent), flower().aggregate_trimmed_avg(arrays(sent), cut))


@pytest.mark.parametrize("cut", [-0.1, 0.5, float("nan")])
def test_no_such_cut(cut: float) -> None:
    with pytest.raises(FedloomError, match="trimmed-mean: cut"):
        trimmed_mean(cut)
