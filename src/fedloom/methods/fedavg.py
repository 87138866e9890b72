"""Federated averaging."""

from fedloom.core.contracts import Method
from fedloom.methods._common import mean, replace_server


def fedavg() -> Method:
    """The mean of the clients' adapters, weighted by their training examples.

    McMahan et al. 2017 (arXiv 1602.05629), Algorithm 1: ``w <- sum_k (n_k / n) w_k``, tensor by tensor; for LoRA pairs
    this is FedIT (arXiv 2305.05644), whose mean(B) mean(A) is not the mean of the products (see ``flexlora``).
    """
    return Method(reduce=mean(adapter="examples"), server=replace_server())
