"""Adagrad on the server."""

from fedloom.core.contracts import Method
from fedloom.methods._common import Weighting
from fedloom.methods.fedopt import MomentumStart, SecondMoment, fedopt


def fedadagrad(
    eta: float = 1e-3,
    tau: float = 1e-3,
    beta1: float = 0.0,
    second_moment: SecondMoment = "delta",
    weighting: Weighting = "uniform",
    momentum_start: MomentumStart = "zero",
) -> Method:
    """Adagrad on the clients' mean change D: ``v <- v + D^2``.

    Reddi et al. 2021 (arXiv 2003.00295), Algorithm 2, FedAdagrad; the other options are those of ``fedopt``.
    """
    return fedopt(
        "adagrad", eta, tau, beta1, second_moment=second_moment, weighting=weighting, momentum_start=momentum_start
    )
