"""q-FedAvg by hand and against Flower's."""

import warnings
from typing import Any

import numpy as np
import pytest
import torch

from fedloom.core.contracts import Parcel, Tree
from fedloom.core.errors import FedloomError
from fedloom.core.tables import ClientTable
from fedloom.federation.client import train
from fedloom.federation.setup import Setup
from fedloom.methods.q_fedavg import q_fedavg
from tests.federation import toy
from tests.methods.helpers import client, fold, reply, run_of, step, to


def a(*values: float) -> Tree:
    return {"a": torch.tensor(values)}


def told(loss: float, lr: float) -> Tree:
    return {name: torch.tensor(value, dtype=torch.float64) for name, value in (("loss", loss), ("lr", lr))}


def stepped(q: float, start: Tree, replies: list[tuple[Tree, float, float]]) -> Tree:
    """The adapter after replies of ``(adapter, loss, lr)``; clients hold 1, 2, 3 ... examples."""
    method = q_fedavg(q)
    state = method.server.init(start, 1.0, len(replies))
    parcels = [
        (Parcel({"adapter": tree, "loss": told(loss, lr)}), client(str(number), examples=number + 1))
        for number, (tree, loss, lr) in enumerate(replies)
    ]
    return method.server.step(state, fold(method, state, parcels))["adapter"]


def test_in_numbers() -> None:
    # L = 2; dw = 2 (4 - 3) = 2 and 2 (4 - 6) = -4; Delta = 3 * 2 = 6 and 1 * -4 = -4
    # h = 2^2 + 2 * 3 = 10 and 4^2 + 2 * 1 = 18; 4 - (6 - 4) / (10 + 18)
    assert stepped(1.0, a(4.0), [(a(3.0), 3.0, 0.5), (a(6.0), 1.0, 0.5)])["a"].item() == pytest.approx(4 - 2 / 28)
    # q = 2: Delta = 9 * 2 = 18 and -4; h = 2 * 3 * 4 + 2 * 9 = 42 and 2 * 16 + 2 = 34
    assert stepped(2.0, a(4.0), [(a(3.0), 3.0, 0.5), (a(6.0), 1.0, 0.5)])["a"].item() == pytest.approx(4 - 14 / 76)


def test_q_of_zero_is_the_mean_without_weights_whatever_the_losses() -> None:
    assert stepped(0.0, a(4.0), [(a(3.0), 3.0, 0.5), (a(6.0), 0.0, 0.5)])["a"].item() == 4.5


def test_one_client_alone_is_followed_the_more_the_larger_its_loss() -> None:
    # L = 1, dw = -1: theta + F^q / (q F^(q-1) + F^q) = F / (q + F)
    for loss in (0.5, 3.0, 99.0):
        assert stepped(1.0, a(0.0), [(a(1.0), loss, 1.0)])["a"].item() == pytest.approx(loss / (1 + loss))


@pytest.mark.parametrize("q", [0.5, 1.0, 5.0, 19.9])
def test_where_all_losses_are_zero_the_step_all_but_vanishes(q: float) -> None:
    assert stepped(q, a(0.0), [(a(1.0), 0.0, 0.1), (a(2.0), 0.0, 0.1)])["a"].item() == pytest.approx(0.0, abs=1e-8)
    assert stepped(q, a(0.5), [(a(0.5), 0.0, 0.1)])["a"].item() == 0.5


def test_a_client_of_no_loss_does_not_count_beside_one_that_has_some() -> None:
    # dw = -1 and -100: Delta = 2 and ~0; h = 1 + 2 and 100^2: it is in the denominator for q = 1 all the same
    assert stepped(1.0, a(0.0), [(a(1.0), 2.0, 1.0), (a(100.0), 0.0, 1.0)])["a"].item() == pytest.approx(2 / 10003)
    assert stepped(2.0, a(0.0), [(a(1.0), 2.0, 1.0), (a(100.0), 0.0, 1.0)])["a"].item() == pytest.approx(
        4 / 8, rel=1e-5
    )


@pytest.mark.parametrize("q", [0.0, 0.1, 1.0, 5.0])
def test_it_is_flowers(q: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("flwr")
        from flwr.server.strategy.aggregate import aggregate_qffl
        from flwr.serverapp.strategy.qfedavg import compute_delta_and_h
    rng, lr = np.random.default_rng(1), 0.05
    start = [rng.standard_normal((3, 4)), rng.standard_normal(5)]
    ends = [[part + 0.1 * rng.standard_normal(part.shape) for part in start] for _ in range(4)]
    losses = [2.0, 0.3, 1e-3, 0.9]
    parts: list[Any] = [
        compute_delta_and_h(start, [part.copy() for part in end], q, 1 / lr, loss)  # it changes what it is given
        for end, loss in zip(ends, losses, strict=True)
    ]
    wanted = aggregate_qffl([part.copy() for part in start], [delta for delta, _ in parts], [h for _, h in parts])

    def named(arrays: list[np.ndarray]) -> Tree:
        return {name: torch.from_numpy(part.copy()) for name, part in zip(("a", "b"), arrays, strict=True)}

    got = stepped(q, named(start), [(named(end), loss, lr) for end, loss in zip(ends, losses, strict=True)])
    for name, part in named(wanted).items():
        torch.testing.assert_close(got[name], part, rtol=1e-12, atol=1e-12)


def test_changes_count_from_where_the_client_began() -> None:
    method = q_fedavg(0.0)
    lifted = method.reduce.lift(Parcel({"adapter": a(1.5), "loss": told(1.0, 0.1)}), client(), a(1.0))
    state = method.server.init(a(1.125), 1.0, 1)  # 1 when it came out of the channel
    assert method.server.step(state, method.reduce.lower(lifted))["adapter"]["a"].item() == pytest.approx(1.625)


def test_the_loss_is_that_before_training_and_two_numbers_travel() -> None:
    method = q_fedavg()
    assert method.local.begin is not None
    run = run_of(Parcel({"adapter": a(1.0)}), examples=4, lr=0.2)
    method.local.begin(run)
    run.losses = lambda: torch.zeros(4)  # what it is after training is nobody's business
    sent = reply(method, run).trees["loss"]
    assert {name: value.item() for name, value in sent.items()} == {"loss": 2.5, "lr": 0.2}  # (1 + 2 + 3 + 4) / 4
    assert {value.ndim for value in sent.values()} == {0}  # no channel rounds it


def test_a_round_by_its_helpers_is_the_formula() -> None:
    method = q_fedavg(1.0)
    turns = [(client("0", examples=1), to(a=1.0)), (client("1", examples=3), to(a=-2.0))]
    after = step(method, method.server.init(a(0.0), 1.0, 2), turns)
    # lr 0.1, so L = 10; F = 1 and 2; dw = -10, 20; Delta = -10, 40; h = 100 + 10, 400 + 20
    assert after["adapter"]["a"].item() == pytest.approx(-30 / 530)


def test_in_a_real_turn_it_is_the_mean_loss_of_the_adapter_received(monkeypatch: pytest.MonkeyPatch) -> None:
    toy.use(monkeypatch)
    setup = Setup(toy.experiment("method=q-fedavg"))
    examples, up = setup.training_examples("0"), torch.tensor([[0.3, -0.2], [0.1, 0.4]])
    sent, _ = train(
        setup.backbone,
        examples,
        setup.method,
        ClientTable(lr=0.05, batch_size=4, optimizer="sgd"),
        received=Parcel({"adapter": {toy.B: up}}),
        kept={},
        initial=setup.initial,
        rng=np.random.default_rng(0),
        lr=0.05,
        scale=setup.scale,
    )
    x = np.stack([toy.features(example.id).numpy() for example in examples])
    y = np.eye(2)[[toy.CHOICES.index(example.answer) for example in examples]]
    wanted = np.square(setup.scale * x @ setup.initial[toy.A].numpy().T @ up.numpy().T - y).sum(axis=1).mean()
    assert sent.trees["loss"]["loss"].item() == pytest.approx(wanted, rel=1e-6)
    assert sent.facts["loss"] != pytest.approx(wanted, rel=1e-2)  # the mean over training
    assert sent.trees["loss"]["lr"].item() == 0.05


BAD: dict[str, Tree] = {
    "missing": {},
    "one less": {"loss": torch.tensor(1.0)},
    "negative": told(-1e-3, 0.1),
    "diverged": told(1e11, 0.1),
    "no number": told(float("nan"), 0.1),
    "no rate": told(1.0, 0.0),
    "a vector": {"loss": torch.ones(2), "lr": torch.tensor(0.1)},
    "whole": {"loss": torch.tensor(1), "lr": torch.tensor(0.1)},
}


@pytest.mark.parametrize("case", BAD)
def test_a_reply_without_a_proper_loss_is_refused(case: str) -> None:
    with pytest.raises(FedloomError, match="Slot 'loss' of the reply of client '7' holds"):
        q_fedavg().reduce.lift(Parcel({"adapter": a(1.0), "loss": BAD[case]}), client("7"), a(0.0))


@pytest.mark.parametrize(("change", "lr"), [(3e38, 1e-100), (1.0, 5e-324)])
def test_a_step_beyond_all_numbers_is_refused(change: float, lr: float) -> None:
    with pytest.raises(FedloomError, match="client '7' has loss 1 at learning rate"):
        q_fedavg().reduce.lift(Parcel({"adapter": a(change), "loss": told(1.0, lr)}), client("7"), a(0.0))


@pytest.mark.parametrize("q", [-0.1, 20.0, float("nan")])
def test_q_must_be_a_number_that_powers_can_take(q: float) -> None:
    with pytest.raises(FedloomError, match=r"q-fedavg: q is .*, expected a number at least 0 and below 20"):
        q_fedavg(q)
