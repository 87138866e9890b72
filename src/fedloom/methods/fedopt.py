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
Momentum = Literal["sum", "average"]
MomentumStart = Literal["zero", "delta"]


def fedopt(
    optimizer: Optimizer = "adam",
    eta: float | None = None,
    tau: float = 1e-3,
    beta1: float | None = None,
    beta2: float = 0.99,
    second_moment: SecondMoment = "delta",
    weighting: Weighting | None = None,
    momentum: Momentum | None = None,
    momentum_start: MomentumStart = "zero",
) -> Method:
    """A server optimiser on the clients' mean change: AvgM, Adagrad, Adam or Yogi.

    Reddi et al. 2021 (arXiv 2003.00295), Algorithm 2. With D the mean of the clients' changes, element by element, and
    m = 0, v = tau^2 before the first round::

        average  m <- beta1 m + (1 - beta1) D
        sum      m <- beta1 m + D                           (Hsu et al. 2019, arXiv 1909.06335)
        adagrad  v <- v + D^2
        adam     v <- beta2 v + (1 - beta2) D^2
        yogi     v <- v - (1 - beta2) D^2 sign(v - D^2)
        theta <- theta + eta m / (sqrt(v) + tau)
        avgm     theta <- theta + eta m

    From m = 0, the first step of an entry is below ``eta (1 - beta1) / sqrt(1 - beta2)``, which is ``eta`` for adam and
    yogi, and below ``eta`` for adagrad; later ones of adam are below ``2.4 eta``, whatever the changes. For few rounds
    and small adapters try 1e-2.

    Two options are how FedMLLM's released code (arXiv 2411.14717) does it, and not the papers': with
    ``momentum_start = "delta"`` the first round ends with m = D, so that with an average its step is
    ``1 / (1 - beta1)`` times as large (up to ``10 eta``); ``second_moment = "momentum"`` takes m^2 where D^2 stands.
    That code's avgm is ``momentum = "average"`` with ``momentum_start = "delta"``. Flower's strategies are the formulas
    above with v = 0 before the first round; its FedAdam also multiplies ``eta`` by
    ``sqrt(1 - beta2^(t+1)) / (1 - beta1^(t+1))`` in round t.

    What is not given depends on the optimiser, as in the papers: ``momentum`` sum for avgm, else average; ``eta`` 1 for
    avgm, else 1e-3; ``beta1`` 0 for adagrad, else 0.9; ``weighting`` examples for avgm, else uniform.

    Raises:
        FedloomError: an unknown optimiser or choice, eta <= 0, tau <= 0, or a beta outside [0, 1).
    """
    if optimizer not in ("avgm", "adagrad", "adam", "yogi"):
        raise FedloomError(f"fedopt: optimizer is {optimizer!r}, expected avgm, adagrad, adam or yogi.")
    if second_moment not in ("delta", "momentum"):
        raise FedloomError(f"fedopt: second_moment is {second_moment!r}, expected delta or momentum.")
    if momentum not in (None, "sum", "average"):
        raise FedloomError(f"fedopt: momentum is {momentum!r}, expected sum or average.")
    if momentum_start not in ("zero", "delta"):
        raise FedloomError(f"fedopt: momentum_start is {momentum_start!r}, expected zero or delta.")
    plain = optimizer == "avgm"
    rate = (1.0 if plain else 1e-3) if eta is None else eta
    decay = (0.0 if optimizer == "adagrad" else 0.9) if beta1 is None else beta1
    summed = plain if momentum is None else momentum == "sum"
    number("fedopt: eta", rate, above=0.0)
    number("fedopt: tau", tau, above=0.0)
    number("fedopt: beta1", decay, least=0.0, below=1.0)
    number("fedopt: beta2", beta2, least=0.0, below=1.0)

    def init(adapter: Tree, scale: float, clients: int) -> State:
        state = {"adapter": adapter, "counters": {"round": torch.tensor(0)}, "momentum": tree.zeros_like(adapter)}
        return state if plain else state | {"second": {n: torch.full_like(w, tau**2) for n, w in adapter.items()}}

    def step(state: State, total: Parcel) -> State:
        delta = total.trees["change"]
        before, first = state["momentum"], int(state["counters"]["round"]) == 0
        share = 1.0 if summed or (first and momentum_start == "delta") else 1 - decay
        moved = {n: decay * before[n] + share * d for n, d in delta.items()}
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
