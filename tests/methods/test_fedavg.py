"""FedAvg by hand."""

from dataclasses import replace

import torch

from fedloom.methods.fedavg import fedavg
from tests.methods.helpers import client, step, to


def test_the_mean_is_weighted_by_examples_in_every_tensor() -> None:
    method = fedavg()
    state = method.server.init({"a": torch.zeros(2), "b": torch.ones(1)}, 1.0, 2)
    # (1 * 2 + 3 * 6) / 4 = 5 and (1 * 4 + 3 * 0) / 4 = 1
    state = step(method, state, [(client("0", 1), to(a=2.0, b=4.0)), (client("1", 3), to(a=6.0, b=0.0))])
    assert state["adapter"]["a"].tolist() == [5.0, 5.0]
    assert state["adapter"]["b"].tolist() == [1.0]


def test_the_plain_mean_counts_every_client_the_same() -> None:
    method = fedavg(weighting="uniform")
    state = method.server.init({"a": torch.zeros(2)}, 1.0, 2)
    state = step(method, state, [(client("0", 1), to(a=2.0)), (client("1", 3), to(a=6.0))])
    assert state["adapter"]["a"].tolist() == [4.0, 4.0]


def test_what_is_not_shared_stays_as_it_began() -> None:
    method = replace(fedavg(), shares=lambda name: name == "a")
    state = method.server.init({"a": torch.zeros(1), "b": torch.ones(1)}, 1.0, 2)
    state = step(method, state, [(client(), to(a=2.0, b=4.0))])
    assert (state["adapter"]["a"].item(), state["adapter"]["b"].item()) == (2.0, 1.0)
