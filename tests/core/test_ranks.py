"""Each client's rank, with numbers worked out by hand."""

import math

import numpy as np
import pytest
import torch

from fedloom.core.errors import FedloomError
from fedloom.core.ranks import alphas, divergences, from_budgets, from_data, label_counts, spread


def adapter(rank: int) -> dict[str, torch.Tensor]:
    """Modules [6, 10] and [4, 5]: 4 (16 + 9) = 100 bytes a rank."""
    sizes = {"one": (6, 10), "two": (4, 5)}
    halves = {f"{name}.lora_A.weight": torch.zeros(rank, k) for name, (_, k) in sizes.items()}
    return halves | {f"{name}.lora_B.weight": torch.zeros(d, rank) for name, (d, _) in sizes.items()}


@pytest.mark.parametrize("drawn", [1, 3])
def test_a_budget_is_filled_with_whole_ranks(drawn: int) -> None:
    budgets = [0.0001, 0.000199, 0.0003, 5.0]  # 100, 199, 300 bytes and plenty
    assert from_budgets(adapter(drawn), budgets, list("abcd"), highest=8) == [1, 1, 3, 8]
    assert from_budgets(adapter(drawn), budgets[:3], list("abcd"), highest=2) == [1, 1, 2, 1]  # in turn, and no more


def test_a_budget_of_exactly_one_rank_is_enough() -> None:
    """4 (49 + 200) = 996 bytes, and 0.000996 * 10^6 is a little less in floating point."""
    pair = {"one.lora_A.weight": torch.zeros(1, 200), "one.lora_B.weight": torch.zeros(49, 1)}
    assert 0.000996 * 10**6 < 996
    assert from_budgets(pair, [0.000996], ["a"], highest=4) == [1]


def test_a_budget_below_rank_one_names_the_client_and_what_would_do() -> None:
    with pytest.raises(FedloomError, match=r"client 'b' can send 9.9e-05 MB.*takes 100 bytes.*at least 0.0001 MB"):
        from_budgets(adapter(1), [1.0, 0.000099], ["a", "b"], highest=4)
    assert from_budgets(adapter(1), [1.0, 0.0001], ["a", "b"], highest=4) == [4, 1]


def test_divergences_are_those_of_paper_and_pencil() -> None:
    """All: 6 and 2 of 8. [4, 0]: ln(1 / (3/4)); [2, 2]: (ln(2/3) + ln 2) / 2."""
    counts = np.array([[4, 0], [2, 2]])
    np.testing.assert_allclose(divergences(counts), [math.log(4 / 3), math.log(4 / 3) / 2], atol=1e-8)


def test_a_rank_is_its_share_of_all_divergence() -> None:
    """Shares 2/3 and 1/3: 1 + 9 (2/3) = 7 and 1 + 9 / 3 = 4; from 2 to 7: 5.33 and 3.67."""
    counts = np.array([[4, 0], [2, 2]])
    assert from_data(counts, 1, 10) == [7, 4]
    assert from_data(counts, 2, 7) == [5, 4]


def test_halves_are_rounded_to_the_even_rank() -> None:
    """Two clients as far from everyone: shares 1/2; 1 + 3/2 = 2.5 and 2 + 3/2 = 3.5."""
    counts = np.array([[5, 0], [0, 5]])
    assert from_data(counts, 1, 4) == [2, 2]
    assert from_data(counts, 2, 5) == [4, 4]


def test_only_the_one_who_differs_gets_the_largest_rank() -> None:
    counts = np.array([[6, 3, 1], [6, 3, 1], [0, 0, 1]])
    ranks = from_data(counts, 1, 16)
    assert ranks[0] == ranks[1] < 3
    assert 13 <= ranks[2] <= 16


def test_clients_who_are_all_alike_have_the_smallest_rank() -> None:
    assert from_data(np.array([[3, 1], [6, 2], [9, 3]]), 2, 8) == [2, 2, 2]
    assert from_data(np.array([[7, 7, 7]]), 1, 8) == [1]
    assert from_data(np.array([[1, 2, 7], [10, 20, 70]]), 3, 3) == [3, 3]


def test_labels_are_counted_by_client() -> None:
    meta = [{"label": label} for label in "baab"] + [{"label": "c"}]
    counts = label_counts([[0, 3], [1, 4], [2]], meta, "label")
    assert counts.tolist() == [[0, 2, 0], [1, 0, 1], [1, 0, 0]]  # a, b, c
    with pytest.raises(FedloomError, match=r"rank_by = 'lable': example 0 .*Did you mean 'label'"):
        label_counts([[0]], meta, "lable")


def test_normalised_divergences_begin_at_nothing_and_end_at_all() -> None:
    """KL x and x / 2: raw shares 2/3 and 1/3; spread 1 and 0."""
    counts = np.array([[4, 0], [2, 2]])
    assert from_data(counts, 1, 10) == [7, 4]
    assert from_data(counts, 1, 10, normalised=True) == [10, 1]
    assert from_data(counts, 0, 32, normalised=True) == [32, 1]  # 0 is no rank
    alike = np.array([[3, 1], [3, 1]])
    assert from_data(alike, 0, 8) == from_data(alike, 0, 8, normalised=True) == [1, 1]
    assert spread(np.array([2.0, 2.0])).tolist() == [1.0, 1.0]


def test_an_alpha_is_its_share_of_all_examples() -> None:
    """Shares 0.1, 0.3, 0.6 of 60: 6, 18, 36, and 8 at least. Normalised: 0, 0.4, 1: 0, 24, 60."""
    assert alphas([10, 30, 60], 8, 60) == pytest.approx([8, 18, 36])
    assert alphas([10, 30, 60], 8, 60, normalised=True) == pytest.approx([8, 24, 60])
    assert alphas([5, 5], 8, 60, normalised=True) == pytest.approx([60, 60])
    assert alphas([10, 30, 60], 0, 50) == pytest.approx([5, 15, 30])
    with pytest.raises(FedloomError, match="the fewest examples would have alpha 0"):
        alphas([10, 30, 60], 0, 64, normalised=True)
