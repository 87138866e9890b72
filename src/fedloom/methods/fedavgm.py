"""FedAvg with momentum on the server."""

from fedloom.core.contracts import Method
from fedloom.methods._common import Weighting
from fedloom.methods.fedopt import Momentum, MomentumStart, fedopt


def fedavgm(
    eta: float = 1.0,
    beta1: float = 0.9,
    weighting: Weighting = "examples",
    momentum: Momentum = "sum",
    momentum_start: MomentumStart = "zero",
) -> Method:
    """FedAvg with server momentum: ``v <- beta1 v + D; theta <- theta + eta v``, D the clients' mean change.

    Hsu et al. 2019 (arXiv 1909.06335), and Flower's FedAvgM. Under a steady D the step grows to ``D / (1 - beta1)``:
    with ``beta1 = 0.9``, ten times the mean change. ``momentum = "average"`` with ``momentum_start = "delta"`` is
    FedMLLM's ``m <- beta1 m + (1 - beta1) D`` from m = D, whose step stays D.
    """
    return fedopt("avgm", eta=eta, beta1=beta1, weighting=weighting, momentum=momentum, momentum_start=momentum_start)
