"""Yogi on the server."""

from fedloom.core.contracts import Method
from fedloom.methods._common import Weighting
from fedloom.methods.fedopt import MomentumStart, SecondMoment, fedopt


def fedyogi(
    eta: float = 1e-3,
    tau: float = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.99,
    second_moment: SecondMoment = "delta",
    weighting: Weighting = "uniform",
    momentum_start: MomentumStart = "zero",
) -> Method:
    """Yogi on the clients' mean change D: ``v <- v - (1 - beta2) D^2 sign(v - D^2)``.

    Reddi et al. 2021 (arXiv 2003.00295), Algorithm 2, FedYogi; the other options are those of ``fedopt``.
    """
    return fedopt("yogi", eta, tau, beta1, beta2, second_moment, weighting, momentum_start=momentum_start)
