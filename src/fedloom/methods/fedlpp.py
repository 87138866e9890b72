"""Federated averaging whose clients only ever see a coarse copy of the global adapter."""

from fedloom.core import tree
from fedloom.core.contracts import Method, Parcel, Server, State, Tree
from fedloom.methods._change import with_change
from fedloom.methods._common import mean, number, send_adapter


def fedlpp(eta: float = 1.0) -> Method:
    """FedLPP: the server keeps the full-precision adapter; clients train on what ``channel.down`` leaves of it.

    arXiv 2406.10976; with ``start_k`` what client k began from (the decoded copy) and ``p_k`` its share of examples::

        theta <- theta + eta sum_k p_k (theta_k - start_k)

    So what quantisation loses stays at the server instead of being lost again every round. The quantiser is the
    channel's: ``channel.down = ["bf16"]``, or a coarser format. Without one, and with ``eta = 1``, this is FedAvg.
    Tensors that are still as everyone's start adapter are not sent, so they are not made coarse. The rule is as
    recalled and as follow-up code of the same group has it; the paper's own text was not read.

    Raises:
        FedloomError: eta <= 0.
    """
    number("fedlpp: eta", eta, above=0.0)

    def init(adapter: Tree, scale: float, clients: int) -> State:
        return {"adapter": adapter}

    def step(state: State, total: Parcel) -> State:
        return {"adapter": tree.add(state["adapter"], total.trees["change"], eta)}

    return Method(with_change(mean(change="examples")), Server(init, step, send_adapter))
