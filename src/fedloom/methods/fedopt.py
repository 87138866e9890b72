"""Adaptive optimisers on the server."""

from typing import Literal

import torch
from torch import Tensor

from fedloom.core import tree
from fedloom.core.contracts import Method, Parcel, Server, State, Tree
from fedloom.core.errors import FedloomError
from fedloom.methods._change import with_change
from fedloom.methods._common import Weighting, mean, number, send_adapter

Optimizer = Literal["avgm", "adagrad", "adam", "yogi"]
SecondMoment = Literal["delta", "momentum"]


def fedopt(
    optimizer: Optimizer = "adam",
    eta: float | None = None,
    tau: float = 1e-3,
    beta1: float | None = None,
    beta2: float = 0.99,
    second_moment: SecondMoment = "delta",
    weighting: Weighting | None = None,
) -> Method:
    """A server optimiser on the clients' mean change: AvgM, Adagrad, Adam or Yogi.

    Reddi et al. 2021 (arXiv 2003.00295), Algorithm 2. With D the mean of the clients' changes, element by element::

        m <- beta1 m + (1 - beta1) D            (m = D in the first round)
        adagrad  v <- v + D^2
        adam     v <- beta2 v + (1 - beta2) D^2
        yogi     v <- v - (1 - beta2) D^2 sign(v - D^2)
        theta <- theta + eta m / (sqrt(v) + tau)            v = tau^2 before the first round
        avgm     theta <- theta + eta m                     (Hsu et al. 2019, arXiv 1909.06335)

    ``m = D`` in the first round and ``second_moment = "momentum"`` (m^2 where D^2 stands) are how FedMLLM
    (arXiv 2411.14717) does it; D^2 is the paper's. What is not given depends on the optimiser, as in those two: ``eta``
    1 for avgm, else 1e-3 (the largest step of an entry is about ``eta``: for few rounds and small adapters try 1e-2);
    ``beta1`` 0 for adagrad, else 0.9; ``weighting`` examples for avgm, else uniform.

    Raises:
        FedloomError: an unknown optimiser, eta <= 0, tau <= 0, or a beta outside [0, 1).
    """
    if optimizer not in ("avgm", "adagrad", "adam", "yogi"):
        raise FedloomError(f"fedopt: optimizer is {optimizer!r}, expected avgm, adagrad, adam or yogi.")
    if second_moment not in ("delta", "momentum"):
        raise FedloomError(f"fedopt: second_moment is {second_moment!r}, expected delta or momentum.")
    plain = optimizer == "avgm"
    rate = (1.0 if plain else 1e-3) if eta is None else eta
    decay = (0.0 if optimizer == "adagrad" else 0.9) if beta1 is None else beta1
    number("fedopt: eta", rate, above=0.0)
    number("fedopt: tau", tau, above=0.0)
    number("fedopt: beta1", decay, least=0.0, below=1.0)
    number("fedopt: beta2", beta2, least=0.0, below=1.0)

    def init(adapter: Tree, scale: float, clients: int) -> State:
        state = {"adapter": adapter, "counters": {"round": torch.tensor(0)}, "momentum": tree.zeros_like(adapter)}
        return state if plain else state | {"second": {n: torch.full_like(w, tau**2) for n, w in adapter.items()}}

    def step(state: State, total: Parcel) -> State:
        delta = total.trees["change"]
        first = int(state["counters"]["round"]) == 0
        before = state["momentum"]
        moved = {n: d if first else decay * before[n] + (1 - decay) * d for n, d in delta.items()}
        result = {"counters": {"round": state["counters"]["round"] + 1}, "momentum": before | moved}
        if plain:
            change = moved
        else:
            squares = {n: (d if second_moment == "delta" else moved[n]).square() for n, d in delta.items()}
            second = {n: _second(optimizer, state["second"][n], square, beta2) for n, square in squares.items()}
            change = {n: moved[n] / (v.sqrt() + tau) for n, v in second.items()}
            result["second"] = state["second"] | second
        return result | {"adapter": tree.add(state["adapter"], change, rate)}

    weights = ("examples" if plain else "uniform") if weighting is None else weighting
    return Method(reduce=with_change(mean(change=weights)), server=Server(init, step, send_adapter))


def _second(optimizer: Optimizer, v: Tensor, square: Tensor, beta2: float) -> Tensor:
    """The second moment after one round, from what it was and the square of the change."""
    if optimizer == "adagrad":
        return v + square
    if optimizer == "adam":
        return beta2 * v + (1 - beta2) * square
    return v - (1 - beta2) * square * torch.sign(v - square)
