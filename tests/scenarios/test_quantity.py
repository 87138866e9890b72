import numpy as np
import pytest

from fedloom.core.errors import FedloomError
from fedloom.scenarios.quantity import quantity


def test_sizes_vary_as_the_distribution_says() -> None:
    # One share of Dirichlet(2, 2, 2): mean 1/3, variance 2 / (9 * 7).
    rng = np.random.default_rng(0)
    sizes = np.array([quantity(2.0).proportions(np.array([10]), 3, rng)[0] for _ in range(10_000)])
    assert sizes.mean(axis=0) == pytest.approx([1 / 3] * 3, abs=0.01)
    assert sizes[:, 0].var() == pytest.approx(2 / 63, rel=0.05)


def test_alpha_must_be_above_zero() -> None:
    with pytest.raises(FedloomError, match="'quantity': alpha = 0"):
        quantity(0)
