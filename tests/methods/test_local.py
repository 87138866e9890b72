"""Nothing leaves the client."""

import torch

from fedloom.methods.local import local
from tests.methods.helpers import client, play, step, to


def test_nothing_is_sent_and_nothing_changes() -> None:
    method = local()
    state = method.server.init({"a": torch.ones(1)}, 1.0, 2)
    assert play(method, state, client(), to(a=5.0)).trees == {"adapter": {}}
    state = step(method, state, [(client("0"), to(a=5.0)), (client("1"), to(a=7.0))])
    assert state["adapter"]["a"].item() == 1.0
