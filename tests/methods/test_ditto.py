"""Ditto by hand: the pull, where the personal adapter begins, and how the shared one is averaged."""

import pytest
import torch

from fedloom.core.contracts import Parcel, Personal, Tree
from fedloom.core.errors import FedloomError
from fedloom.methods.ditto import ditto
from tests.methods.helpers import client, run_of, step, to


def personal_of(lam: float = 0.1) -> Personal:
    found = ditto(lam).local.personal
    assert found is not None
    return found


def a(*values: float) -> Tree:
    return {"a": torch.tensor(values)}


def test_the_pull_is_towards_the_shared_adapter_not_towards_where_it_began() -> None:
    term = personal_of(lam=0.5).term
    assert term is not None
    run = run_of(Parcel({"adapter": a(4.0, 2.0)}))  # begins at its own
    run.received = Parcel({"adapter": a(1.0, 2.0)})
    assert term(run).item() == 2.25  # 0.5 / 2 * 3^2
    with torch.no_grad():
        run.theta["a"] += torch.tensor([-1.0, 4.0])
    # 0.5 / 2 * (2^2 + 4^2) = 5; gradient 0.5 * (v - w)
    value = term(run)
    value.backward()
    assert value.item() == 5.0
    assert run.theta["a"].grad is not None
    assert run.theta["a"].grad.tolist() == [1.0, 2.0]


def test_it_goes_on_from_its_own_and_begins_as_the_shared_one() -> None:
    personal = personal_of()
    shared, own, base = a(1.0), a(2.0), {"m.lora_A.weight": torch.ones(1, 1)}
    for part in (personal.begin, personal.model):
        assert part(Parcel({"adapter": shared}), None, 3.0) == (shared, {})
        assert part(Parcel({"adapter": shared, "base": base}), own, 3.0) == (own, base)


def test_the_shared_mean_is_uniform_or_by_examples() -> None:
    turns = [(client("0", 1), to(a=2.0)), (client("1", 3), to(a=6.0))]
    for weighting, wanted in (("uniform", 4.0), ("examples", 5.0)):
        method = ditto(weighting=weighting)
        state = step(method, method.server.init(a(0.0), 1.0, 2), turns)
        assert state["adapter"]["a"].item() == wanted


def test_lam_must_not_be_negative() -> None:
    with pytest.raises(FedloomError, match="ditto: lam is -1"):
        ditto(lam=-1.0)
