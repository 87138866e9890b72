"""FedAvgM by hand: theta 1, mean change 2 and then -1."""

import pytest
import torch

from fedloom.methods.fedavgm import fedavgm
from tests.methods.helpers import client, step, to


def test_two_rounds() -> None:
    method = fedavgm(**{"eta": 2.0, "beta1": 0.5})
    state = method.server.init({"w": torch.tensor([1.0], dtype=torch.float64)}, 1.0, 2)
    for change in (2.0, -1.0):
        now = state["adapter"]["w"].item()
        state = step(method, state, [(client("0"), to(w=now + change - 1)), (client("1"), to(w=now + change + 1))])
    # m 2 and then 1/2, eta 2: 1 + 4 + 1
    assert state["adapter"]["w"].item() == pytest.approx(6.0)
