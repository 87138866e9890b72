"""FedDyn by hand, its identity between server and clients, and where FedAvg drifts."""

from collections.abc import Iterable

import pytest
import torch

from fedloom.core.contracts import Method, Parcel, State, Tree
from fedloom.core.errors import FedloomError
from fedloom.methods.fedavg import fedavg
from fedloom.methods.feddyn import feddyn
from tests.methods.helpers import client, fold, reply, run_of

LR = 0.05
CLIENTS = [(1.0, 0.0), (9.0, 1.0)]  # minimise curvature / 2 (w - centre)^2; together: 9 / 10


def vector(*values: float) -> Tree:
    return {"w": torch.tensor(values, dtype=torch.float64)}


def one_round(method: Method, state: State, kept: list[dict[str, Tree]], who: Iterable[int], steps: int) -> State:
    """Plain SGD on the quadratics of those clients, then the server."""
    replies = []
    for number in who:
        curvature, centre = CLIENTS[number]
        run = run_of(method.server.send(state, client(str(number))), lr=LR, kept=kept[number])
        optimizer = torch.optim.SGD(list(run.theta.values()), lr=LR)
        for _ in range(steps):
            optimizer.zero_grad()
            loss = (curvature / 2 * (run.theta["w"] - centre).square()).sum()
            (loss + method.local.term(run) if method.local.term else loss).backward()
            optimizer.step()
        replies.append((reply(method, run), client(str(number))))
        if method.local.keep:
            kept[number] = method.local.keep(run)
    return method.server.step(state, fold(method, state, replies))


def test_the_client_by_hand() -> None:
    method = feddyn(alpha=0.5)
    assert method.local.term is not None
    assert method.local.keep is not None
    run = run_of(Parcel({"adapter": vector(1.0, 2.0)}), kept={"gradient": vector(0.25, -1.0)})
    assert method.local.term(run).item() == 1.75  # -(0.25 * 1 - 1 * 2)
    with torch.no_grad():
        run.theta["w"] += torch.tensor([2.0, 4.0])
    # -(0.25 * 3 - 1 * 6) + 0.25 * (2^2 + 4^2) = 5.25 + 5; gradient 0.5 * (2, 4) - (0.25, -1)
    term = method.local.term(run)
    term.backward()
    assert term.item() == 10.25
    assert run.theta["w"].grad is not None
    assert run.theta["w"].grad.tolist() == [0.75, 3.0]
    assert method.local.keep(run)["gradient"]["w"].tolist() == [-0.75, -3.0]  # (0.25, -1) - 0.5 * (2, 4)


def test_the_first_turn_has_no_linear_term() -> None:
    method = feddyn(alpha=0.5)
    assert method.local.term is not None
    assert method.local.keep is not None
    run = run_of(Parcel({"adapter": vector(1.0)}))
    with torch.no_grad():
        run.theta["w"] += 2.0
    assert method.local.term(run).item() == 1.0
    assert method.local.keep(run)["gradient"]["w"].item() == -1.0


def test_the_server_divides_by_the_cohort_in_the_mean_and_by_all_in_h() -> None:
    method = feddyn(alpha=0.5)
    state = method.server.init(vector(1.0), 1.0, 8)
    state["gradient"] = vector(0.25)
    replies = [
        (Parcel({"adapter": vector(2.0)}), client("0", examples=1)),
        (Parcel({"adapter": vector(4.0)}), client("1", examples=3)),
    ]
    after = method.server.step(state, fold(method, state, replies))
    # h = 0.25 - 0.5 / 8 * (1 + 3) = 0; theta = (2 + 4) / 2 - 0
    assert (after["gradient"]["w"].item(), after["adapter"]["w"].item()) == (0.0, 3.0)
    again = method.server.step(after, fold(method, after, replies[1:]))
    # h = 0 - 0.5 / 8 * (4 - 3) = -0.0625; theta = 4 + 0.0625 / 0.5; one client alone
    assert (again["gradient"]["w"].item(), again["adapter"]["w"].item()) == (-0.0625, 4.125)


def test_h_counts_changes_from_where_the_clients_began() -> None:
    method = feddyn(alpha=0.5)
    state = method.server.init(vector(1.125), 1.0, 1)
    lifted = method.reduce.lift(Parcel({"adapter": vector(2.0)}), client(), vector(1.0))  # 1.125, coarsely
    after = method.server.step(state, method.reduce.lower(lifted))
    assert (after["gradient"]["w"].item(), after["adapter"]["w"].item()) == (-0.5, 3.0)  # 2 + 0.5 / 0.5


def test_h_is_the_mean_of_all_clients_gradients_whoever_takes_part() -> None:
    method = feddyn(alpha=0.3)
    state: State = method.server.init(vector(0.0), 1.0, 2)
    kept: list[dict[str, Tree]] = [{}, {}]
    for who in ([0], [0, 1], [1], [1, 0]):
        state = one_round(method, state, kept, who, steps=3)
        held = sum(one["gradient"]["w"] for one in kept if one) / 2
        torch.testing.assert_close(state["gradient"]["w"], held)
    assert held.abs() > 1e-3


def test_it_finds_the_optimum_that_fedavg_misses() -> None:
    found = {}
    for name, method in (("feddyn", feddyn(alpha=2.0)), ("fedavg", fedavg())):
        state: State = method.server.init(vector(0.0), 1.0, 2)
        kept: list[dict[str, Tree]] = [{}, {}]
        for _ in range(200):
            state = one_round(method, state, kept, [0, 1], steps=20)
        found[name] = state["adapter"]["w"].item()
    assert found["feddyn"] == pytest.approx(0.9, abs=1e-6)
    assert abs(found["fedavg"] - 0.9) > 0.1


def test_alpha_must_be_positive() -> None:
    with pytest.raises(FedloomError, match="feddyn: alpha is 0"):
        feddyn(alpha=0.0)
