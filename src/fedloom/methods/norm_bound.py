"""The mean of the clients' changes, none longer than a bound."""

from dataclasses import replace

from fedloom.core import tree
from fedloom.core.contracts import ClientInfo, Method, Parcel, Server, State, Tree
from fedloom.methods._common import Means, Weighting, mean, number, replace_server, send_adapter


def norm_bound(bound: float = 1.0, weighting: Weighting = "uniform") -> Method:
    """The mean of the clients' changes, each shortened to the length ``bound`` where it is longer.

    Sun et al. 2019 (arXiv 1911.07963; as recalled, without its noise): with ``D_k = theta_k - start_k``, what client k
    changed in all of its adapter, ``theta <- theta + mean_k D_k / max(1, |D_k| / bound)``, with the Euclidean length.
    The mean is plain as in the paper, or weighted by training examples. In a round no attacker moves the adapter by
    more than its weight's share of ``bound``. For LoRA pairs the change is that of A and B as they are, tensor by
    tensor: what a bounded change of both does to the product B A also depends on how large A and B are.

    Raises:
        FedloomError: bound <= 0.
    """
    number("norm-bound: bound", bound, above=0.0)
    means = mean(adapter=weighting)

    def lift(reply: Parcel, client: ClientInfo, start: Tree) -> Means:
        adapter = reply.trees["adapter"]
        tree.check_same(adapter, start, f"The reply of client {client.name!r}")
        change = {name: value.double() - start[name].double() for name, value in adapter.items()}
        factor = 1 / max(1.0, float(tree.squared_norm(change).sqrt()) / bound)
        short = Parcel({"adapter": {name: factor * d for name, d in change.items()}})
        lifted: Means = means.lift(short, client, start)
        return lifted

    def step(state: State, total: Parcel) -> State:
        before, change = state["adapter"], total.trees["adapter"]
        moved = {name: (before[name].double() + d).to(before[name].dtype) for name, d in change.items()}
        return {"adapter": before | moved}

    return Method(replace(means, lift=lift), Server(replace_server().init, step, send_adapter))
