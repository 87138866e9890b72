"""FedAdagrad by hand: theta 1, mean change 2 and then -1."""

import pytest
import torch

from fedloom.methods.fedadagrad import fedadagrad
from tests.methods.helpers import client, step, to


def test_two_rounds() -> None:
    method = fedadagrad(**{"eta": 1.0, "tau": 1.0})
    state = method.server.init({"w": torch.tensor([1.0], dtype=torch.float64)}, 1.0, 2)
    for change in (2.0, -1.0):
        now = state["adapter"]["w"].item()
        state = step(method, state, [(client("0"), to(w=now + change - 1)), (client("1"), to(w=now + change + 1))])
    # no momentum; v = 1 + 4 = 5 and then 5 + 1 = 6
    assert state["adapter"]["w"].item() == pytest.approx(1 + 2 / (5**0.5 + 1) - 1 / (6**0.5 + 1))
