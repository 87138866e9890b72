"""FedAvgM by hand."""

from typing import Any

import pytest
import torch

from fedloom.core.contracts import Method
from fedloom.methods.fedavgm import fedavgm
from tests.methods.helpers import client, step, to


def steady(method: Method, rounds: int) -> float:
    """Where an entry ends that begins at 0 and that every client moves by 1 in every round."""
    state = method.server.init({"w": torch.zeros(1, dtype=torch.float64)}, 1.0, 2)
    for _ in range(rounds):
        end = state["adapter"]["w"].item() + 1
        state = step(method, state, [(client("0"), to(w=end)), (client("1"), to(w=end))])
    return state["adapter"]["w"].item()


def test_two_rounds() -> None:
    method = fedavgm(**{"eta": 2.0, "beta1": 0.5})
    state = method.server.init({"w": torch.tensor([1.0], dtype=torch.float64)}, 1.0, 2)
    for change in (2.0, -0.5):
        now = state["adapter"]["w"].item()
        state = step(method, state, [(client("0"), to(w=now + change - 1)), (client("1"), to(w=now + change + 1))])
    # v = 2 and then 1 - 0.5; eta 2: 1 + 4 + 1
    assert state["adapter"]["w"].item() == pytest.approx(6.0)


# sum_t (1 - 0.9^t) / 0.1 for t = 1..10 is 100 - 90 (1 - 0.9^10); the average from m = 1 stays 1
@pytest.mark.parametrize(
    ("options", "end"),
    [
        ({}, 41.381),
        ({"momentum": "average", "momentum_start": "delta"}, 10.0),
        ({"momentum": "average"}, 4.1381),
    ],
)
def test_ten_rounds_of_one(options: dict[str, Any], end: float) -> None:
    assert steady(fedavgm(**options), 10) == pytest.approx(end, abs=1e-4)
