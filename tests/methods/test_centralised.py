"""One pool, one client."""

import torch

from fedloom.methods.centralised import centralised
from fedloom.methods.fedavg import fedavg
from tests.methods.helpers import client, step, to


def test_the_one_client_is_the_model() -> None:
    method = centralised()
    assert method.pooled
    assert not fedavg().pooled
    state = method.server.init({"a": torch.ones(1)}, 1.0, 1)
    assert step(method, state, [(client("all", 10), to(a=5.0))])["adapter"]["a"].item() == 5.0
