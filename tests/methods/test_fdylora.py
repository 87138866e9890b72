"""fdylora's mean by hand, and clients with an alpha of their own."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from fedloom.core import config, lora, resolve
from fedloom.core.contracts import Parcel, Tree
from fedloom.core.errors import FedloomError
from fedloom.core.tables import ClientTable
from fedloom.federation import client as turns
from fedloom.federation.scaled import parcel_times, scaled, times
from fedloom.federation.setup import Setup
from fedloom.methods.fdylora import fdylora
from tests.federation import toy
from tests.methods.helpers import step
from tests.methods.test_fedilora import START, TURNS, A, B, pair
from tests.models.backbones import backbone, examples

Tiny = Callable[[str], Path]


def test_pairs_are_filled_up_with_zeros_and_averaged_by_examples() -> None:
    """Component 0: (1 of 4) small, (3 of 4) large; component 1: (3 of 4) large and nothing; component 2 nobody had."""
    method = fdylora()
    for order in (TURNS, TURNS[::-1]):
        state = step(method, method.server.init(START, 1.0, 2), order)
        assert state["adapter"][A].tolist() == [[4.0, 5.0], [5.25, 6.0], [5.0, 7.0]]
        assert state["adapter"][B].tolist() == [[7.0, 1.5, 3.0]]
        assert method.server.send(state, TURNS[0][0]).trees["adapter"][B].tolist() == [[7.0]]


def test_an_r_between_is_refused() -> None:
    with pytest.raises(FedloomError, match="fdylora"):
        fdylora().server.init({**START, "m" + lora.R: torch.eye(3)}, 1.0, 2)


def test_what_travels_is_in_one_scale() -> None:
    """Alpha 3 where the table says 2: f = 1.5. B 6 was sent: 4 there. B 4 comes back: 6 for everyone; A as it is."""
    sent = Parcel({"adapter": pair([[1.0, 2.0]], [[6.0]])}, {"rounds": 1})
    there = parcel_times(sent, 1 / 1.5)
    assert there.trees["adapter"][B].tolist() == [[4.0]]
    assert there.trees["adapter"][A].tolist() == [[1.0, 2.0]]
    assert there.facts == {"rounds": 1}
    assert parcel_times(there, 1.5).trees["adapter"][B].tolist() == [[6.0]]
    assert times(START, 1.0) is START


@pytest.mark.parametrize("kind", ["lora"])
def test_a_client_trains_with_its_own_alpha(kind: str, tiny: Tiny) -> None:
    """Alpha 4, times 2.5, is the turn of a model whose alpha is 10; afterwards it is 4 again."""

    def turn(alpha: float, factor: float) -> Tree:
        model = backbone(tiny("clip"), adapter={"kind": kind, "rank": 2, "alpha": alpha, "where": ("text",)})
        start = model.read()
        given = {"received": Parcel({"adapter": start}), "kept": {}, "initial": start}
        method, table = resolve.build("methods", "fdylora", {}, seed=0), ClientTable(batch_size=2)
        before = model.loss(model.collate(examples(2))).detach()
        with scaled(model, factor):
            reply, _ = turns.train(
                model, examples(4), method, table, **given, rng=np.random.default_rng(0), lr=0.1, scale=1.0
            )
        model.write(start)
        assert torch.equal(model.loss(model.collate(examples(2))).detach(), before)
        return reply.trees["adapter"]

    own, other, plain = turn(4.0, 2.5), turn(10.0, 1.0), turn(4.0, 1.0)
    assert all(torch.equal(own[name], other[name]) for name in own)
    assert not all(torch.equal(own[name], plain[name]) for name in own)


def test_a_client_has_the_alpha_of_its_share() -> None:
    """Six examples each of eighteen: a third of 4."""
    given = ["method=fdylora", "adapter.alpha_from=data", "adapter.alpha=4.0", "adapter.min_alpha=1.0"]
    setup = Setup(toy.experiment(*given))
    assert [info.factor for info in setup.clients.values()] == pytest.approx([1 / 3] * 3)
    setup = Setup(toy.experiment(*given, "adapter.normalised=true"))
    assert [info.factor for info in setup.clients.values()] == [1.0] * 3
    pooled = Setup(toy.experiment(*given[1:], "method=centralised"))
    assert [info.factor for info in pooled.clients.values()] == [1.0]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["method=fedavg", "adapter.alpha_from=data"],
            "'fedavg' cannot merge adapters of different alpha. Use fdylora",
        ),
        (["method=fdylora", "adapter.min_alpha=2.0"], "min_alpha = 2.0 is read where adapter.alpha_from = 'data'"),
        (["method=fdylora", "adapter.normalised=true"], "normalised = true is read where"),
        (
            ["method=fdylora", 'method.with=["ditto"]', "adapter.alpha_from=data"],
            "has clients keep an adapter of their own",
        ),
        (
            ["method=fdylora", "adapter.alpha_from=data", "adapter.min_alpha=99.0"],
            "min_alpha = 99.0 is more than adapter.alpha",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(FedloomError, match=re.escape(message)):
        Setup(toy.experiment(*overrides)).check()


def test_an_adapter_without_pairs_has_no_alpha() -> None:
    with pytest.raises(FedloomError, match="kind = 'head' has none"):
        config.build(config.load("flora", ["adapter=head", "adapter.alpha_from=data"]), "method")
