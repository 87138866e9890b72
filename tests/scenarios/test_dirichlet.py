import numpy as np
import pytest

from fedloom.core.errors import FedloomError
from fedloom.scenarios.dirichlet import dirichlet


@pytest.mark.parametrize("alpha", [0.5, 5.0])
def test_the_shares_vary_as_the_distribution_says(alpha: float) -> None:
    # A share of Dirichlet(alpha x K) has mean 1/K and variance (K - 1) / (K^2 (K alpha + 1)).
    rows = dirichlet(alpha).proportions(np.ones(20_000, int), 4, np.random.default_rng(0))
    assert rows.mean() == pytest.approx(0.25)
    assert rows.var() == pytest.approx(3 / (16 * (4 * alpha + 1)), rel=0.03)


@pytest.mark.parametrize("alpha", [0.0, -1.0, float("nan"), float("inf")])
def test_alpha_must_be_above_zero(alpha: float) -> None:
    with pytest.raises(FedloomError, match="alpha"):
        dirichlet(alpha)
