"""Averaging in which a client counts the more, the worse the model serves it."""

import functools
from dataclasses import dataclass, replace
from typing import Literal

import torch

from fedloom.core import tree
from fedloom.core.contracts import ClientInfo, Local, LocalRun, Method, Parcel, Reduce, Server, State, Tree
from fedloom.core.errors import FedloomError
from fedloom.core.tree import WeightedSum
from fedloom.methods._capped import capped, check_cap
from fedloom.methods._common import number, send_adapter

Lipschitz = Literal["fall", "1/lr"] | float

TINY = 1e-10
"""Added to every loss, as in the authors' code: a loss of zero has its powers."""

LARGEST_LOSS, LARGEST_H = 1e10, 1e250
"""Nothing greater counts: their powers and sums would leave float64."""


@dataclass
class Turn:
    """One reply: its ``change`` and the square of its norm, F_k, how far that fell, and the client's own L, or 1 where
    L is found from all together."""

    change: Tree
    norm: float
    loss: float
    fall: float
    own: float


def q_fedavg(q: float = 1.0, lipschitz: Lipschitz = "fall", cap: float = 2.0) -> Method:
    """q-FedAvg: the larger a client's loss at the global adapter, the more its change counts.

    Li et al. 2020 (arXiv 1905.10497), Algorithm 2, with F_k the mean loss over the client's training set at the
    adapter it received, and L the Lipschitz constant of the losses' gradients::

        dw_k = L (start_k - theta_k),   Delta_k = F_k^q dw_k,   h_k = q F_k^(q-1) ||dw_k||^2 + L F_k^q
        theta <- theta - sum_k Delta_k / sum_k h_k

    The norm is over all shared tensors; sums are unweighted, so q = 0 is the uniform mean of the changes, whatever L.
    For q > 0 the step is shorter, the larger L is. ``lipschitz``:

    - ``"1/lr"``, the paper's: L = 1 / lr, for which ``dw_k`` is a gradient where a client takes one step of plain SGD.
      AdamW moves every entry by some lr a step however small its gradient, so ``L ||change||^2`` is many times the
      loss, and the adapter hardly moves.
    - ``"fall"``, ours, for any optimiser: what the training itself tells of L. Gradient descent at 1 / L lowers a loss
      by ``L / 2 ||change||^2`` or more, so ``L = 2 sum_k (F_k - F_k') / sum_k ||theta_k - start_k||^2`` over the
      round's clients, with F_k' the same mean loss at theta_k, and 0 where the losses rose. Then
      ``L ||change||^2`` is about twice the fall, and the step at least some 1 / (1 + 2 q) of the weighted mean.
    - a number above 0: L itself.

    F_k takes a pass over the client's data before it trains, and F_k' one after it. The client sends F_k, and F_k' or
    its learning rate, as numbers in slot ``loss``; the rest is worked out where ``start_k`` is known. The paper draws
    clients by their size; here that is ``sampling``'s matter. Where all losses are zero, all have the same tiny weight.

    ``cap`` is ours: whoever says that its loss is 1e6 would otherwise be the model. Of the K clients of a round, none
    counts for more than ``cap / K`` of ``sum_k L_k F_k^q`` (the largest F_k are lowered to where that holds), nor of
    the falls by which L is found; for q < 1, where a loss near zero has the largest, nor of ``sum_k F_k^(q-1)``.
    ``cap = 0`` is the paper's formula. L = 1 / lr is the median of what clients say, which have one rate. Not additive:
    a share is known when all are there.

    Raises:
        FedloomError: q < 0, or q >= 20 (the paper's go to 15), where powers of small losses leave float64; an unknown
            ``lipschitz``, or one that is not above 0; a cap that is neither 0 nor at least 1.
    """
    check_cap("q-fedavg: cap", cap)
    number("q-fedavg: q", q, least=0.0, below=20.0)
    if isinstance(lipschitz, str):
        if lipschitz not in ("fall", "1/lr"):
            raise FedloomError(f"q-fedavg: lipschitz is {lipschitz!r}, expected 'fall', '1/lr' or a number above 0.")
        also: tuple[str, ...] = {"fall": ("after",), "1/lr": ("lr",)}[lipschitz]
    else:
        number("q-fedavg: lipschitz", lipschitz, above=0.0)
        also = ()

    def begin(run: LocalRun) -> None:
        run.scratch["loss"] = run.losses().double().mean()

    def send(run: LocalRun) -> dict[str, Tree]:
        told = {"loss": run.scratch["loss"]}
        if lipschitz == "fall":
            told["after"] = run.losses().double().mean()
        elif lipschitz == "1/lr":
            told["lr"] = torch.tensor(run.lr, dtype=torch.float64)
        return {"loss": told}

    def lift(reply: Parcel, client: ClientInfo, start: Tree) -> list[Turn]:
        told = _numbers(reply, client, ("loss", *also))
        loss, own = told["loss"], 1.0 if lipschitz == "fall" else 1 / told["lr"] if lipschitz == "1/lr" else lipschitz
        change = tree.sub(reply.trees["adapter"], start)
        norm = float(tree.squared_norm({name: value.double() for name, value in change.items()}))
        turn = Turn(change, norm, loss, loss - told.get("after", loss), float(own))
        weight, square = _weight(turn, loss, q), _power(loss, q) * turn.own**2 * norm
        if not 0 < weight + square < LARGEST_H:
            rate = f" at learning rate {told['lr']:g}" if "lr" in told else ""
            raise FedloomError(
                f"q-fedavg: client {client.name!r} has loss {loss:g}{rate} and a change of squared norm {norm:g}: h is "
                f"{weight + square:g}, expected less than {LARGEST_H:g}. Lower q or client.lr."
            )
        return [turn]

    def merge(left: list[Turn], right: list[Turn]) -> list[Turn]:
        return left + right

    def init(adapter: Tree, scale: float, clients: int) -> State:
        return {"adapter": adapter}

    def step(state: State, total: Parcel) -> State:
        return {"adapter": tree.add(state["adapter"], total.trees["change"])}

    reduce = Reduce(lift, merge, lambda turns: _lower(turns, q, lipschitz, cap), additive=False, bounded=("loss",))
    local = Local(begin=begin, send=send, reveals={"loss": "loss"})
    return Method(reduce, Server(init, step, send_adapter), local)


def _lower(turns: list[Turn], q: float, lipschitz: Lipschitz, cap: float) -> Parcel:
    """The change that the server takes, from all turns of a round."""
    own = sorted(turn.own for turn in turns)[(len(turns) - 1) // 2]
    turns = [replace(turn, own=own) for turn in turns]
    weights = [_weight(turn, turn.loss, q) for turn in turns]
    most = capped(torch.tensor(weights, dtype=torch.float64), cap).tolist()
    losses = [turn.loss for turn in turns]
    if q > 0:  # the loss that has the weight which counts
        pairs = zip(turns, weights, most, strict=True)
        losses = [t.loss if at == was else (at / t.own) ** (1 / q) - TINY for t, was, at in pairs]
    changes = functools.reduce(
        WeightedSum.merge, (WeightedSum.of(turn.change, weight) for turn, weight in zip(turns, most, strict=True))
    )
    powers = capped(torch.tensor([_power(loss, q) for loss in losses], dtype=torch.float64), cap).tolist()
    squares = sum(power * turn.own**2 * turn.norm for turn, power in zip(turns, powers, strict=True))
    falls = torch.tensor([turn.fall for turn in turns], dtype=torch.float64)
    fall = sum((capped(falls.abs(), cap) * falls.sign()).tolist())
    norms = sum(turn.norm for turn in turns)
    found = max(0.0, 2 * fall) / norms if norms else 0.0
    part = changes.weight / (changes.weight + (found if lipschitz == "fall" else 1.0) * squares)
    return Parcel({"change": {name: value * part for name, value in changes.mean().items()}})


def _weight(turn: Turn, loss: float, q: float) -> float:
    """``L F^q`` at a loss."""
    return float(turn.own * (loss + TINY) ** q)


def _power(loss: float, q: float) -> float:
    """``q F^(q-1)`` at a loss."""
    return float(q * (loss + TINY) ** (q - 1))


def _numbers(reply: Parcel, client: ClientInfo, names: tuple[str, ...]) -> dict[str, float]:
    """The numbers of a reply: losses, and a learning rate.

    Raises:
        FedloomError: they are not there, or no such numbers.
    """
    slot = reply.trees.get("loss", {})
    found = {name: value.item() for name, value in slot.items() if value.is_floating_point() and value.ndim == 0}
    sound = found.keys() == slot.keys() == set(names)
    if not sound or not all(v > 0 if name == "lr" else 0 <= v <= LARGEST_LOSS for name, v in found.items()):
        raise FedloomError(
            f"Slot 'loss' of the reply of client {client.name!r} holds {found}, expected {' and '.join(names)}: losses "
            f"from 0 to {LARGEST_LOSS:g}, a rate above 0. Both sides must use q-fedavg with the same options; a loss "
            "beyond that has diverged."
        )
    return found
