"""Server optimisers by hand: theta 1, mean change D 2 and then -1, eta 1, tau 1, beta1 1/2, beta2 3/4."""

from typing import Any

import pytest
import torch

from fedloom.core import resolve
from fedloom.core.contracts import Method, Parcel, State
from fedloom.core.errors import FedloomError
from fedloom.methods.fedopt import fedopt
from tests.methods.helpers import client, step, to

EASY: dict[str, Any] = {"eta": 1.0, "tau": 1.0, "beta1": 0.5, "beta2": 0.75}


def move(method: Method, state: State, change: float) -> State:
    """A round whose mean change is ``change``: two clients, one above and one below it."""
    now = state["adapter"]["w"].item()
    return step(method, state, [(client("0"), to(w=now + change - 1)), (client("1"), to(w=now + change + 1))])


def begin(method: Method) -> State:
    return method.server.init({"w": torch.tensor([1.0], dtype=torch.float64)}, 1.0, 2)


# m: 0.5 * 2 = 1, then 0.5 * 1 + 0.5 * (-1) = 0. v before: 1.
@pytest.mark.parametrize(
    ("optimizer", "second_moment", "v1", "v2"),
    [
        ("adagrad", "delta", 5.0, 6.0),  # 1 + 4, + 1
        ("adam", "delta", 1.75, 1.5625),  # 0.75 * 1 + 0.25 * 4, 0.75 * 1.75 + 0.25 * 1
        ("yogi", "delta", 2.0, 1.75),  # 1 - 0.25 * 4 * (-1), 2 - 0.25 * 1 * 1
        ("adagrad", "momentum", 2.0, 2.0),  # m^2 = 1 for D^2 = 4, then 0 for 1
        ("adam", "momentum", 1.0, 0.75),
        ("yogi", "momentum", 1.0, 1.0),  # v = m^2: no change
    ],
)
def test_two_rounds(optimizer: Any, second_moment: Any, v1: float, v2: float) -> None:
    method = fedopt(optimizer, second_moment=second_moment, **EASY)
    first = move(method, begin(method), 2.0)
    assert first["momentum"]["w"].item() == pytest.approx(1.0)
    assert first["second"]["w"].item() == pytest.approx(v1)
    assert first["adapter"]["w"].item() == pytest.approx(1 + 1 / (v1**0.5 + 1))
    second = move(method, first, -1.0)
    assert second["momentum"]["w"].item() == pytest.approx(0.0, abs=1e-9)
    assert second["second"]["w"].item() == pytest.approx(v2)
    assert second["adapter"]["w"].item() == pytest.approx(first["adapter"]["w"].item())


# m: 2, then 0.5 * 2 + 0.5 * (-1) = 0.5. v before: 1.
@pytest.mark.parametrize(
    ("optimizer", "second_moment", "v1", "v2"),
    [
        ("adagrad", "delta", 5.0, 6.0),
        ("adam", "delta", 1.75, 1.5625),
        ("yogi", "delta", 2.0, 1.75),
        ("adagrad", "momentum", 5.0, 5.25),  # the second round takes m^2 = 0.25 for D^2 = 1
        ("adam", "momentum", 1.75, 1.375),
        ("yogi", "momentum", 2.0, 1.9375),
    ],
)
def test_two_rounds_from_the_first_change(optimizer: Any, second_moment: Any, v1: float, v2: float) -> None:
    method = fedopt(optimizer, second_moment=second_moment, momentum_start="delta", **EASY)
    first = move(method, begin(method), 2.0)
    assert first["momentum"]["w"].item() == pytest.approx(2.0)
    assert first["second"]["w"].item() == pytest.approx(v1)
    assert first["adapter"]["w"].item() == pytest.approx(1 + 2 / (v1**0.5 + 1))
    second = move(method, first, -1.0)
    assert second["momentum"]["w"].item() == pytest.approx(0.5)
    assert second["second"]["w"].item() == pytest.approx(v2)
    assert second["adapter"]["w"].item() == pytest.approx(first["adapter"]["w"].item() + 0.5 / (v2**0.5 + 1))


@pytest.mark.parametrize("optimizer", ["avgm", "adam"])
def test_what_the_channel_lost_on_the_way_down_is_no_change(optimizer: Any) -> None:
    method = fedopt(optimizer, **EASY)
    state, coarse = begin(method), {"w": torch.tensor([1.5], dtype=torch.float64)}
    lifted = method.reduce.lift(Parcel({"adapter": coarse}), client(), coarse)  # trained nothing
    assert method.server.step(state, method.reduce.lower(lifted))["adapter"]["w"].item() == 1.0


# m: 2, 0.5 * 2 - 1 = 0 | 0.5 * 2 = 1, 0.5 * 1 - 0.5 = 0 | 2, 0.5 * 2 - 0.5 = 0.5
@pytest.mark.parametrize(
    ("momentum", "momentum_start", "after"),
    [
        (None, "zero", [5.0, 5.0]),
        ("sum", "delta", [5.0, 5.0]),
        ("average", "zero", [3.0, 3.0]),
        ("average", "delta", [5.0, 6.0]),
    ],
)
def test_avgm(momentum: Any, momentum_start: Any, after: list[float]) -> None:
    method = fedopt("avgm", eta=2.0, beta1=0.5, momentum=momentum, momentum_start=momentum_start)
    first = move(method, begin(method), 2.0)
    second = move(method, first, -1.0)
    assert [state["adapter"]["w"].item() for state in (first, second)] == after
    assert "second" not in second


# (1 - 0.9) D / (sqrt(0.99 tau^2 + 0.01 D^2) + tau), and ten times that from m = D; tau = 1e-3
@pytest.mark.parametrize(("change", "zero", "delta"), [(0.03, 0.72, 7.2), (0.3, 0.97, 9.7)])
@pytest.mark.parametrize("optimizer", ["adam", "yogi"])
def test_the_first_step(optimizer: Any, change: float, zero: float, delta: float) -> None:
    for start, wanted in (("zero", zero), ("delta", delta)):
        method = fedopt(optimizer, momentum_start=start)  # type: ignore[arg-type]
        state = method.server.init({"w": torch.zeros(1, dtype=torch.float64)}, 1.0, 1)
        state = step(method, state, [(client(), to(w=change))])
        assert state["adapter"]["w"].item() / 1e-3 == pytest.approx(wanted, abs=0.005 * wanted / zero)


def test_no_first_step_is_above_its_bound() -> None:
    for optimizer, bound in (("adam", 1.0), ("yogi", 1.0), ("adagrad", 1.0)):
        method = fedopt(optimizer, tau=1e-6)  # type: ignore[arg-type]
        state = method.server.init({"w": torch.zeros(1, dtype=torch.float64)}, 1.0, 1)
        state = step(method, state, [(client(), to(w=1e3))])
        assert 0.99 * bound < state["adapter"]["w"].item() / 1e-3 <= bound


def test_yogi_shrinks_what_adam_forgets() -> None:
    # no change at all: Adam's v decays by beta2, Yogi's stays, since D^2 is zero
    adam = move(fedopt("adam", **EASY), begin(fedopt("adam", **EASY)), 0.0)
    yogi = move(fedopt("yogi", **EASY), begin(fedopt("yogi", **EASY)), 0.0)
    assert (adam["second"]["w"].item(), yogi["second"]["w"].item()) == (0.75, 1.0)


def test_weighting() -> None:
    turns = [(client("0", 1), to(w=1.0)), (client("1", 3), to(w=5.0))]
    for weighting, change in (("uniform", 2.0), ("examples", 3.0)):
        method = fedopt("avgm", weighting=weighting)
        assert step(method, begin(method), turns)["momentum"]["w"].item() == change


def test_defaults_depend_on_the_optimiser() -> None:
    turns = [(client("0", 1), to(w=1.0)), (client("1", 3), to(w=5.0))]
    avgm, adagrad = fedopt("avgm"), fedopt("adagrad")
    assert step(avgm, begin(avgm), turns)["adapter"]["w"].item() == 4.0  # by examples, eta 1
    state = step(adagrad, step(adagrad, begin(adagrad), turns), [(client(), to(w=0.0))])
    assert state["momentum"]["w"].item() == pytest.approx(-(1 + 1e-3 * 2 / ((4 + 1e-6) ** 0.5 + 1e-3)))  # beta1 0


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"optimizer": "sgd"}, "optimizer is 'sgd', expected avgm"),
        ({"second_moment": "both"}, "second_moment is 'both'"),
        ({"momentum": "none"}, "momentum is 'none', expected sum or average"),
        ({"momentum_start": "one"}, "momentum_start is 'one', expected zero or delta"),
        ({"eta": 0.0}, "eta is 0.0, expected a number above 0"),
        ({"tau": -1.0}, "tau is -1.0"),
        ({"beta1": 1.0}, "beta1 is 1.0, expected a number at least 0 and below 1"),
        ({"beta2": float("nan")}, "beta2 is nan"),
    ],
)
def test_bad_options(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(FedloomError, match=f"fedopt: {problem}"):
        fedopt(**options)


# As FedMLLM's code has them: eta = tau = 1e-3, beta1 0.9, beta2 0.99, m = D in round 1; D = 0.02, then -0.01, theta 0.
# m: 0.02, 0.018 - 0.001 = 0.017 (adagrad: -0.01); v0 = 1e-6. Round 1, m^2 = D^2 = 4e-4; round 2, m^2 = 2.89e-4 and
# D^2 = 1e-4.
@pytest.mark.parametrize(
    ("name", "second_moment", "v1", "v2", "m2"),
    [
        ("fedadam", "momentum", 0.99e-6 + 4e-6, 0.99 * 4.99e-6 + 2.89e-6, 0.017),
        ("fedadam", "delta", 0.99e-6 + 4e-6, 0.99 * 4.99e-6 + 1e-6, 0.017),
        ("fedyogi", "momentum", 1e-6 + 4e-6, 5e-6 + 2.89e-6, 0.017),
        ("fedyogi", "delta", 1e-6 + 4e-6, 5e-6 + 1e-6, 0.017),
        ("fedadagrad", "momentum", 1e-6 + 4e-4, 401e-6 + 1e-4, -0.01),  # no momentum: m = D
        ("fedadagrad", "delta", 1e-6 + 4e-4, 401e-6 + 1e-4, -0.01),
    ],
)
def test_the_settings_of_fedmllm(name: str, second_moment: str, v1: float, v2: float, m2: float) -> None:
    options = {"second_moment": second_moment, "momentum_start": "delta"}
    method: Method = resolve.build("methods", name, options)
    state = method.server.init({"w": torch.zeros(1, dtype=torch.float64)}, 1.0, 2)
    at = 0.0
    for change, v, m in ((0.02, v1, 0.02), (-0.01, v2, m2)):
        turns = [(client("0", 1), to(w=at + change - 0.3)), (client("1", 9), to(w=at + change + 0.3))]  # unweighted
        state = step(method, state, turns)
        at += 1e-3 * m / (v**0.5 + 1e-3)
        assert state["momentum"]["w"].item() == pytest.approx(m)
        assert state["second"]["w"].item() == pytest.approx(v)
        assert state["adapter"]["w"].item() == pytest.approx(at)


def test_the_momentum_of_fedmllm() -> None:
    """Weighted by examples, D = (1 * 1 + 3 * 5) / 4 = 4, then 0 and 0: m = 4, 3.6, 3.24; theta 4, 7.6, 10.84."""
    method: Method = resolve.build("methods", "fedavgm", {"momentum": "average", "momentum_start": "delta"})
    state, at = method.server.init({"w": torch.zeros(1, dtype=torch.float64)}, 1.0, 2), []
    for ends in ((1.0, 5.0), (4.0, 4.0), (7.6, 7.6)):
        state = step(method, state, [(client(str(n), 1 + 2 * n), to(w=end)) for n, end in enumerate(ends)])
        at.append(state["adapter"]["w"].item())
    assert at == pytest.approx([4.0, 7.6, 10.84])
