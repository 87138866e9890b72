"""A leaf that is no half of a pair, such as the vector of an absent picture, is merged by every method.

Two clients move it by 0.1 and 0.2; they hold 6 and 2 examples. Weighted by examples that is 0.125, unweighted 0.15.
"""

import pytest
import torch

from fedloom.core import lora, resolve
from fedloom.core.contracts import ClientInfo, Method, Parcel, Tree

PAIR = "base_model.model.head"
LEAF = "absent.image"
WEIGHTED, MEAN = 0.125, 0.15
CLIENTS = (ClientInfo("a", 6, 2), ClientInfo("b", 2, 2))
MOVED = {
    **dict.fromkeys(("fedavg", "fedavgm", "fedprox", "centralised", "feddpa-f", "fedlpp"), WEIGHTED),
    **dict.fromkeys(("ffa-lora", "fedex-lora", "flexlora", "frlora", "hetlora", "lora-fair", "stacking"), WEIGHTED),
    **dict.fromkeys(("fed-sb",), WEIGHTED),
    **dict.fromkeys(("ditto", "scaffold", "median", "trimmed-mean", "norm-bound"), MEAN),
}
"""Those whose server step is a mean; the others' steps are rules of their own."""


def start(method: str) -> Tree:
    tree = {PAIR + lora.A: torch.ones(2, 4), PAIR + lora.B: torch.zeros(2, 2), LEAF: torch.tensor([1.0, -1.0, 0.5])}
    return tree | ({PAIR + lora.R: torch.zeros(2, 2)} if method == "fed-sb" else {})


@pytest.mark.parametrize("name", MOVED)
def test_it_is_the_mean_of_the_clients(name: str) -> None:
    method: Method = resolve.build("methods", name, {}, seed=0)
    assert method.trains(LEAF)
    assert method.shares(LEAF)
    begun = start(name)
    state = method.server.init(begun, 1.0, 2)
    total = None
    for client, step in zip(CLIENTS, (0.1, 0.2), strict=True):
        sent = begun | method.server.send(state, client).trees.get("adapter", {})
        mine = {key: value for key, value in sent.items() if method.shares(key)}
        adapter = {key: value + step if method.trains(key) else value.clone() for key, value in mine.items()}
        slots = {
            slot: {key: 0 * value for key, value in mine.items()} for slot in method.local.reveals if slot != "rank"
        }
        reply = Parcel({"adapter": adapter, **slots}, {"examples": client.examples, "steps": 3, "loss": 1.0})
        lifted = method.reduce.lift(reply, client, mine)
        total = lifted if total is None else method.reduce.merge(total, lifted)
    after = method.server.step(state, method.reduce.lower(total))
    found = begun | method.server.send(after, None).trees["adapter"]
    torch.testing.assert_close(found[LEAF], begun[LEAF] + MOVED[name])


@pytest.mark.parametrize("name", ["fedsa-lora", "local"])
def test_it_stays_with_each_client_where_the_method_shares_by_name(name: str) -> None:
    method: Method = resolve.build("methods", name, {}, seed=0)
    assert (method.trains(LEAF), method.shares(LEAF)) == (True, False)
