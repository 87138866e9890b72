"""SCAFFOLD by hand, against option II of the paper, and where FedAvg drifts."""

import pytest
import torch

from fedloom.core.contracts import Local, LocalRun, Method, Parcel, State, Tree
from fedloom.core.errors import FedloomError
from fedloom.methods.fedavg import fedavg
from fedloom.methods.scaffold import scaffold
from tests.methods.helpers import client, fold, reply, run_of

LR = 0.05
CLIENTS = [(1.0, 0.0), (9.0, 1.0)]  # minimise curvature / 2 (w - centre)^2; together: 9 / 10


def vector(value: float) -> Tree:
    return {"w": torch.tensor([value], dtype=torch.float64)}


def train(local: Local, run: LocalRun, curvature: float, centre: float, steps: int) -> None:
    """Plain SGD on one client's quadratic."""
    optimizer = torch.optim.SGD(list(run.theta.values()), lr=run.lr)
    for _ in range(steps):
        optimizer.zero_grad()
        (curvature / 2 * (run.theta["w"] - centre).square()).sum().backward()
        if local.gradient:
            local.gradient(run)
        optimizer.step()
        run.steps += 1


def one_round(method: Method, state: State, kept: list[dict[str, Tree]], steps: int) -> State:
    replies = []
    for number, (curvature, centre) in enumerate(CLIENTS):
        run = run_of(method.server.send(state, client(str(number))), lr=LR, kept=kept[number])
        train(method.local, run, curvature, centre, steps)
        replies.append((reply(method, run), client(str(number))))
        if method.local.keep:
            kept[number] = method.local.keep(run)
    return method.server.step(state, fold(method, state, replies))


def test_two_steps_by_hand() -> None:
    method = scaffold()
    received = Parcel({"adapter": vector(1.0), "control": vector(0.5)})
    run = run_of(received, lr=0.5, kept={"control": vector(0.25)})
    train(method.local, run, 1.0, 0.0, 2)
    # g = 1: w = 1 - (1 - 0.25 + 0.5) / 2 = 0.375; g = 0.375: w = 0.375 - (0.375 + 0.25) / 2 = 0.0625
    assert run.theta["w"].item() == 0.0625
    assert method.local.keep is not None
    assert method.local.keep(run)["control"]["w"].item() == 0.6875  # (1 + 0.375) / 2
    assert reply(method, run).trees["control"]["w"].item() == 0.4375  # less 0.25


def test_the_server_by_hand() -> None:
    method = scaffold(eta=0.5)
    state = method.server.init(vector(1.0), 1.0, 8)
    state["control"] = vector(0.5)
    replies = [
        (Parcel({"adapter": vector(2.0), "control": vector(1.0)}), client("0", examples=1)),
        (Parcel({"adapter": vector(4.0), "control": vector(3.0)}), client("1", examples=3)),
    ]
    after = method.server.step(state, fold(method, state, replies))
    assert after["adapter"]["w"].item() == 2.0  # 1 + 0.5 * mean(1, 3)
    assert after["control"]["w"].item() == 1.0  # 0.5 + 2 / 8 * mean(1, 3)
    weighted = scaffold(weighting="examples")
    after = weighted.server.step(state, fold(weighted, state, replies))
    assert after["adapter"]["w"].item() == 3.5  # (1 * 2 + 3 * 4) / 4
    assert after["control"]["w"].item() == 1.0


@pytest.mark.parametrize("steps", [1, 3, 10])
def test_for_sgd_it_is_option_two(steps: int) -> None:
    method = scaffold()
    c, c_k = vector(0.7), vector(-0.3)
    run = run_of(Parcel({"adapter": vector(2.0), "control": c}), lr=LR, kept={"control": c_k})
    train(method.local, run, 3.0, 1.0, steps)
    moved = run.start["w"] - run.theta["w"].detach()
    assert method.local.keep is not None
    own = method.local.keep(run)["control"]["w"]
    assert torch.allclose(own, c_k["w"] - c["w"] + moved / (steps * LR))


def test_it_finds_the_optimum_that_fedavg_misses() -> None:
    found = {}
    for method in (scaffold(), fedavg()):
        state: State = method.server.init(vector(0.0), 1.0, 2)
        kept: list[dict[str, Tree]] = [{}, {}]
        for _ in range(60):
            state = one_round(method, state, kept, steps=20)
        found["scaffold" if method.local.gradient else "fedavg"] = state["adapter"]["w"].item()
    assert found["scaffold"] == pytest.approx(0.9, abs=1e-6)
    assert abs(found["fedavg"] - 0.9) > 0.1


def test_no_gradient_counts_as_zero_and_no_step_changes_nothing() -> None:
    method = scaffold()
    assert method.local.gradient is not None
    run = run_of(Parcel({"adapter": vector(1.0), "control": vector(0.5)}), kept={"control": vector(0.2)})
    assert reply(method, run).trees["control"]["w"].item() == 0.0
    method.local.gradient(run)
    run.steps = 1
    assert run.theta["w"].grad is not None
    assert run.theta["w"].grad.item() == pytest.approx(0.3)
    assert reply(method, run).trees["control"]["w"].item() == -0.2


def test_a_reply_without_its_control_is_refused() -> None:
    method = scaffold()
    with pytest.raises(FedloomError, match="Slot 'control' of the reply of client '7' lacks tensor 'w'"):
        method.reduce.lift(Parcel({"adapter": vector(1.0)}), client("7"), vector(1.0))


def test_what_everyone_sees_is_the_adapter_alone() -> None:
    state = scaffold().server.init(vector(1.0), 1.0, 2)
    assert scaffold().server.send(state, None).trees.keys() == {"adapter"}


def test_eta_must_be_positive() -> None:
    with pytest.raises(FedloomError, match="scaffold: eta is 0"):
        scaffold(eta=0.0)
