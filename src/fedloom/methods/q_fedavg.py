"""Averaging in which a client counts the more, the worse the model serves it."""

from dataclasses import dataclass

import torch

from fedloom.core import tree
from fedloom.core.contracts import ClientInfo, Local, LocalRun, Method, Parcel, Reduce, Server, State, Tree
from fedloom.core.errors import FedloomError
from fedloom.core.tree import WeightedSum
from fedloom.methods._common import number, send_adapter

TINY = 1e-10
"""Added to every loss, as in the authors' code: a loss of zero has its powers."""

LARGEST_LOSS, LARGEST_H = 1e10, 1e250
"""Nothing greater counts: their powers and sums would leave float64."""


@dataclass
class Steps:
    """Replies so far: the mean change, weighted by ``L F_k^q``, and the sum of h_k."""

    changes: WeightedSum
    h: float


def q_fedavg(q: float = 1.0) -> Method:
    """q-FedAvg: the larger a client's loss at the global adapter, the more its change counts.

    Li et al. 2020 (arXiv 1905.10497), Algorithm 2, with F_k the mean loss over the client's training set at the
    adapter it received, and L = 1 / lr::

        dw_k = L (start_k - theta_k),   Delta_k = F_k^q dw_k,   h_k = q F_k^(q-1) ||dw_k||^2 + L F_k^q
        theta <- theta - sum_k Delta_k / sum_k h_k

    The norm is over all shared tensors; sums are unweighted, so q = 0 is the uniform mean. F_k takes a pass over the
    client's data before it trains. The client sends F_k and its learning rate as two numbers in slot ``loss``; the rest
    is worked out where ``start_k`` is known. L is the Lipschitz constant that a step of plain SGD suggests; with AdamW
    the formula is the same, but L says less. The paper draws clients by their size; here that is ``sampling``'s matter.
    Where all losses are zero, all have the same tiny weight, and for q > 0 the step all but vanishes.

    Raises:
        FedloomError: q < 0, or q >= 20 (the paper's go to 15), where powers of small losses leave float64.
    """
    number("q-fedavg: q", q, least=0.0, below=20.0)

    def begin(run: LocalRun) -> None:
        run.scratch["loss"] = run.losses().double().mean()

    def send(run: LocalRun) -> dict[str, Tree]:
        return {"loss": {"loss": run.scratch["loss"], "lr": torch.tensor(run.lr, dtype=torch.float64)}}

    def lift(reply: Parcel, client: ClientInfo, start: Tree) -> Steps:
        loss, lr = _numbers(reply, client)
        changes = tree.sub(reply.trees["adapter"], start)
        squares = float(tree.squared_norm({name: value.double() for name, value in changes.items()}))
        smoothness, base = 1 / lr, loss + TINY
        weight = smoothness * base**q
        h = weight + q * base ** (q - 1) * smoothness * smoothness * squares
        if not 0 < h < LARGEST_H:
            raise FedloomError(
                f"q-fedavg: client {client.name!r} has loss {loss:g} at learning rate {lr:g} and a change of squared "
                f"norm {squares:g}: h is {h:g}, expected less than {LARGEST_H:g}. Lower q or client.lr."
            )
        return Steps(WeightedSum.of(changes, weight), h)

    def merge(left: Steps, right: Steps) -> Steps:
        return Steps(left.changes.merge(right.changes), left.h + right.h)

    def lower(total: Steps) -> Parcel:
        part = total.changes.weight / total.h
        return Parcel({"change": {name: value * part for name, value in total.changes.mean().items()}})

    def init(adapter: Tree, scale: float, clients: int) -> State:
        return {"adapter": adapter}

    def step(state: State, total: Parcel) -> State:
        return {"adapter": tree.add(state["adapter"], total.trees["change"])}

    reduce = Reduce(lift, merge, lower, additive=True)
    return Method(reduce, Server(init, step, send_adapter), Local(begin=begin, send=send))


def _numbers(reply: Parcel, client: ClientInfo) -> tuple[float, float]:
    """Loss and learning rate of a reply.

    Raises:
        FedloomError: they are not there, or no such numbers.
    """
    slot = reply.trees.get("loss", {})
    found = {name: value.item() for name, value in slot.items() if value.is_floating_point() and value.ndim == 0}
    loss, lr = found.get("loss", -1.0), found.get("lr", 0.0)
    if slot.keys() != {"loss", "lr"} or not (0 <= loss <= LARGEST_LOSS and lr > 0):
        raise FedloomError(
            f"Slot 'loss' of the reply of client {client.name!r} holds {found}, expected 'loss' from 0 to "
            f"{LARGEST_LOSS:g} and 'lr' above 0. Both sides must use q-fedavg; a loss beyond that has diverged."
        )
    return loss, lr
