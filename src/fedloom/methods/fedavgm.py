"""FedAvg with momentum on the server."""

from fedloom.core.contracts import Method
from fedloom.methods._common import Weighting
from fedloom.methods.fedopt import fedopt


def fedavgm(eta: float = 1.0, beta1: float = 0.9, weighting: Weighting = "examples") -> Method:
    """FedAvg with server momentum: ``m <- beta1 m + (1 - beta1) D; theta <- theta + eta m``.

    Hsu et al. 2019 (arXiv 1909.06335), in the form of ``fedopt``, whose notation and first round it shares.
    """
    return fedopt("avgm", eta=eta, beta1=beta1, weighting=weighting)
