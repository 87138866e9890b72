"""FedProx by hand."""

import pytest
import torch

from fedloom.core.contracts import Parcel
from fedloom.core.errors import FedloomError
from fedloom.methods.fedprox import fedprox
from tests.methods.helpers import run_of


def test_the_term_and_its_gradient() -> None:
    method = fedprox(mu=0.5)
    assert method.local.term is not None
    run = run_of(Parcel({"adapter": {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([[3.0]]), "c": torch.ones(1)}}))
    run.theta["c"].requires_grad_(False).fill_(9.0)  # what does not train does not count
    assert method.local.term(run).item() == 0.0
    with torch.no_grad():
        run.theta["a"] += torch.tensor([2.0, 0.0])
        run.theta["b"] += 1.0
    # 0.5 / 2 * (2^2 + 0^2 + 1^2) = 1.25; gradient 0.5 * (theta - start)
    term = method.local.term(run)
    term.backward()
    assert term.item() == 1.25
    assert run.theta["a"].grad is not None
    assert run.theta["a"].grad.tolist() == [1.0, 0.0]


@pytest.mark.parametrize("mu", [-0.1, float("nan"), float("inf")])
def test_mu_must_be_a_number_not_below_zero(mu: float) -> None:
    with pytest.raises(FedloomError, match=r"fedprox: mu is .*, expected a number at least 0"):
        fedprox(mu=mu)
