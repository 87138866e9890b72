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


def stepped(q: float, start: Tree, replies: list[tuple[Tree, float, float]], cap: float = 0.0) -> Tree:
    """The adapter after replies of ``(adapter, loss, lr)``; clients hold 1, 2, 3 ... examples."""
    method = q_fedavg(q, "1/lr", cap)
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
    method = q_fedavg(0.0, "1/lr")
    lifted = method.reduce.lift(Parcel({"adapter": a(1.5), "loss": told(1.0, 0.1)}), client(), a(1.0))
    state = method.server.init(a(1.125), 1.0, 1)  # 1 when it came out of the channel
    assert method.server.step(state, method.reduce.lower(lifted))["adapter"]["a"].item() == pytest.approx(1.625)


@pytest.mark.parametrize(
    ("lipschitz", "told"),
    [("fall", {"loss": 2.5, "after": 1.0}), ("1/lr", {"loss": 2.5, "lr": 0.2}), (3.0, {"loss": 2.5})],
)
def test_the_loss_is_that_before_training_and_two_numbers_travel(lipschitz: Any, told: dict[str, float]) -> None:
    method = q_fedavg(lipschitz=lipschitz)
    assert method.local.begin is not None
    run = run_of(Parcel({"adapter": a(1.0)}), examples=4, lr=0.2)
    method.local.begin(run)
    run.losses = lambda: torch.ones(4)
    sent = reply(method, run).trees["loss"]
    assert {name: value.item() for name, value in sent.items()} == told  # (1 + 2 + 3 + 4) / 4
    assert {value.ndim for value in sent.values()} == {0}  # no channel rounds it


def test_a_round_by_its_helpers_is_the_formula() -> None:
    method = q_fedavg(1.0, "1/lr")
    turns = [(client("0", examples=1), to(a=1.0)), (client("1", examples=3), to(a=-2.0))]
    after = step(method, method.server.init(a(0.0), 1.0, 2), turns)
    # lr 0.1, so L = 10; F = 1 and 2; dw = -10, 20; Delta = -10, 40; h = 100 + 10, 400 + 20
    assert after["adapter"]["a"].item() == pytest.approx(-30 / 530)


def test_in_a_real_turn_it_is_the_mean_loss_of_the_adapter_received(monkeypatch: pytest.MonkeyPatch) -> None:
    toy.use(monkeypatch)
    setup = Setup(toy.experiment("method=q-fedavg", "method.lipschitz=1/lr"))
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


def fallen(
    q: float, start: Tree, replies: list[tuple[Tree, float, float]], lipschitz: Any = "fall", cap: float = 0.0
) -> Tree:
    """The adapter after replies of ``(adapter, loss before, loss after)``."""
    method = q_fedavg(q, lipschitz, cap)
    state, parcels = method.server.init(start, 1.0, len(replies)), []
    for number, (tree, before, after) in enumerate(replies):
        numbers = {"loss": before} | ({"after": after} if lipschitz == "fall" else {})
        slot = {name: torch.tensor(value, dtype=torch.float64) for name, value in numbers.items()}
        parcels.append((Parcel({"adapter": tree, "loss": slot}), client(str(number), examples=number + 1)))
    return method.server.step(state, fold(method, state, parcels))["adapter"]


def test_l_from_the_fall_of_the_losses() -> None:
    # changes -1 and 2; falls 1 and 0.5: L = 2 * 1.5 / 5 = 0.6. dw = 0.6, -1.2; Delta = 1.8, -1.2;
    # h = 0.36 + 0.6 * 3 = 2.16 and 1.44 + 0.6 * 1 = 2.04
    replies = [(a(3.0), 3.0, 2.0), (a(6.0), 1.0, 0.5)]
    assert fallen(1.0, a(4.0), replies)["a"].item() == pytest.approx(4 - 0.6 / 4.2)
    assert fallen(1.0, a(4.0), replies, 0.6)["a"].item() == pytest.approx(4 - 0.6 / 4.2)
    # the losses rose: L = 0, the mean weighted by F^q alone: 4 + (3 * -1 + 1 * 2) / 4
    assert fallen(1.0, a(4.0), [(a(3.0), 3.0, 5.0), (a(6.0), 1.0, 0.5)])["a"].item() == pytest.approx(3.75)


@pytest.mark.parametrize("lipschitz", ["fall", 1e-3, 1e3])
def test_q_of_zero_is_the_mean_whatever_l(lipschitz: Any) -> None:
    replies = [(a(3.0), 3.0, 2.0), (a(6.0), 0.0, 0.5)]
    assert fallen(0.0, a(4.0), replies, lipschitz)["a"].item() == pytest.approx(4.5, abs=1e-6)


@pytest.mark.parametrize("q", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("lipschitz", ["fall", 20.0])
def test_three_rounds_with_another_cohort_in_each(q: float, lipschitz: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("flwr")
        from flwr.server.strategy.aggregate import aggregate_qffl
        from flwr.serverapp.strategy.qfedavg import compute_delta_and_h
    rng = np.random.default_rng(2)
    mine = a(*rng.standard_normal(6).tolist())["a"].double()
    wanted = mine.numpy().copy()
    for cohort in ((0, 1, 2), (1, 3), (0, 2, 3)):
        ends = [mine.numpy() + 0.1 * rng.standard_normal(6) for _ in cohort]
        before, after = rng.uniform(1, 3, len(cohort)), rng.uniform(0.2, 1, len(cohort))
        replies = [({"a": torch.from_numpy(end)}, b, e) for end, b, e in zip(ends, before, after, strict=True)]
        mine = fallen(q, {"a": mine}, replies, lipschitz)["a"]
        norms = sum(((end - wanted) ** 2).sum() for end in ends)
        found = 2 * (before - after).sum() / norms if lipschitz == "fall" else lipschitz
        parts = [
            compute_delta_and_h([wanted], [end.copy()], q, found, loss + 1e-10 * (q == 0))
            for end, loss in zip(ends, before, strict=True)
        ]
        wanted = aggregate_qffl([wanted.copy()], [delta for delta, _ in parts], [h for _, h in parts])[0]
        np.testing.assert_allclose(mine.numpy(), wanted, rtol=0, atol=1e-8)


def test_no_loss_makes_a_client_count_for_more_than_its_part() -> None:
    # K = 4, s = 1/2: of the losses 1, 1, 2 and 1e6 the last becomes 4. L = 1, dw = -change:
    # Delta = 1 * 1 + 1 * 1 + 2 * 1 + 4 * 10 = 44; h = (1 + 1) + (1 + 1) + (1 + 2) + (100 + 4) = 111
    replies = [(a(1.0), 1.0, 1.0), (a(1.0), 1.0, 1.0), (a(1.0), 2.0, 1.0), (a(10.0), 1e6, 1.0)]
    assert stepped(1.0, a(0.0), replies, cap=2.0)["a"].item() == pytest.approx(44 / 111)
    # without: (4 + 1e7) / (7 + 100 + 1e6)
    assert stepped(1.0, a(0.0), replies)["a"].item() == pytest.approx(10.0, rel=1e-3)


def test_no_fall_of_its_loss_lets_a_client_stop_all_others() -> None:
    # losses are as before, so the last F is 4; falls 0.5, 0.5, 1 and 1e6, whose part is at most 1/2: it becomes 2
    # L = 2 * 4 / 12 (squared changes 1, 1, 1 and 9); W = 8; sum F^0 |dw|^2 = L^2 12; part = 8 / (8 + L 12)
    replies = [(a(1.0), 1.0, 0.5), (a(1.0), 1.0, 0.5), (a(1.0), 2.0, 1.0), (a(3.0), 1e6, 0.0)]
    mean = (1 + 1 + 2 + 4 * 3) / 8
    assert fallen(1.0, a(0.0), replies, cap=2.0)["a"].item() == pytest.approx(mean * 8 / (8 + 8 / 12 * 12))
    alone = fallen(1.0, a(0.0), replies)["a"].item()
    assert alone == pytest.approx(3 * 1e6 / (1e6 + 2e6 / 12 * 12), rel=1e-4)


def test_no_loss_of_zero_lets_a_client_stop_all_others() -> None:
    # K = 5, s = 0.4, q = 1/2, L = 1, changes of 1: of F^(-1/2) / 2 = 0.5 four times and 5e4, the last becomes 4/3
    # Delta = 4 + 1e-5; h = 4 + 1e-5 + 4 / 2 + 4/3
    replies = [(a(1.0), 1.0, 1.0)] * 4 + [(a(1.0), 0.0, 1.0)]
    assert stepped(0.5, a(0.0), replies, cap=2.0)["a"].item() == pytest.approx(12 / 22, rel=1e-4)
    assert stepped(0.5, a(0.0), replies)["a"].item() == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize("lr", [1e-30, 1e-100, 0.1, 1e30])
def test_no_rate_that_it_says_lets_a_client_stop_all_others(lr: float) -> None:
    # four say 1/2: L = 2, dw = 2 (1 - 0) ..., F = 1: Delta = 5 * 2, h = 5 (4 + 2)
    replies = [(a(0.0), 1.0, 0.5)] * 4 + [(a(0.0), 1.0, lr)]
    assert stepped(1.0, a(1.0), replies, cap=2.0)["a"].item() == pytest.approx(1 - 10 / 30)


def train_loss(lipschitz: Any, q: float, size: float = 1.0) -> tuple[float, float]:
    """Mean loss of two clients with different data before and after ten rounds of ten AdamW steps each; ``size``: a
    factor of all losses, which AdamW does not see."""
    rng = torch.Generator().manual_seed(0)
    data = []
    for target in (torch.ones(8), -0.5 * torch.ones(8)):
        x = torch.randn(32, 8, generator=rng)
        data.append((x, x @ (target + torch.linspace(1, 2, 8))))
    method = q_fedavg(q, lipschitz)
    state = method.server.init({"w": torch.zeros(8)}, 1.0, 2)

    def mean(w: torch.Tensor) -> float:
        return float(sum(size * ((x @ w - y) ** 2).mean() for x, y in data) / 2)

    before = mean(state["adapter"]["w"])
    for _ in range(10):
        replies = []
        for number, (x, y) in enumerate(data):
            run = run_of(method.server.send(state, None), lr=0.05)
            run.losses = lambda x=x, y=y, run=run: size * (x @ run.theta["w"].detach() - y) ** 2  # type: ignore[misc]
            assert method.local.begin is not None
            method.local.begin(run)
            optimiser = torch.optim.AdamW(run.theta.values(), lr=run.lr)
            for _ in range(10):
                optimiser.zero_grad()
                (size * (x @ run.theta["w"] - y) ** 2).mean().backward()  # type: ignore[no-untyped-call]
                optimiser.step()
            replies.append((reply(method, run), client(str(number))))
        state = method.server.step(state, fold(method, state, replies))
    return before, mean(state["adapter"]["w"])


@pytest.mark.parametrize("size", [1.0, 1e-3])
def test_it_learns_under_adamw(size: float) -> None:
    before, plain = train_loss("fall", 0.0, size)
    assert plain < 0.35 * before
    for q in (1.0, 2.0):
        assert train_loss("fall", q, size)[1] < 0.45 * before
    if size < 1:  # what 1 / lr makes of small gradients
        assert train_loss("1/lr", 1.0, size)[1] > 0.9 * before


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
        q_fedavg(lipschitz="1/lr").reduce.lift(Parcel({"adapter": a(1.0), "loss": BAD[case]}), client("7"), a(0.0))


@pytest.mark.parametrize(("change", "lr"), [(3e38, 1e-100), (1.0, 5e-324)])
def test_a_step_beyond_all_numbers_is_refused(change: float, lr: float) -> None:
    with pytest.raises(FedloomError, match="client '7' has loss 1 at learning rate"):
        q_fedavg(lipschitz="1/lr").reduce.lift(
            Parcel({"adapter": a(change), "loss": told(1.0, lr)}), client("7"), a(0.0)
        )


@pytest.mark.parametrize("lipschitz", ["lr", 0.0, -1.0, float("nan")])
def test_l_must_be_known_or_above_zero(lipschitz: Any) -> None:
    with pytest.raises(FedloomError, match="q-fedavg: lipschitz is"):
        q_fedavg(1.0, lipschitz)


@pytest.mark.parametrize("q", [-0.1, 20.0, float("nan")])
def test_q_must_be_a_number_that_powers_can_take(q: float) -> None:
    with pytest.raises(FedloomError, match=r"q-fedavg: q is .*, expected a number at least 0 and below 20"):
        q_fedavg(q)
