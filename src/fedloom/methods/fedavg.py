"""Federated averaging."""

from fedloom.core.contracts import Method
from fedloom.methods._common import Weighting, mean, replace_server


def fedavg(weighting: Weighting = "examples") -> Method:
    """The mean of the clients' adapters, weighted by their training examples.

    McMahan et al. 2017 (arXiv 1602.05629), Algorithm 1: ``w <- sum_k (n_k / n) w_k``, tensor by tensor; for LoRA pairs
    this is FedIT (arXiv 2305.05644), whose mean(B) mean(A) is not the mean of the products (see ``flexlora``).
    ``weighting = "uniform"`` is the plain mean, ``w <- sum_k w_k / K``, which one-shot tables have beside it (YOCO,
    NeurIPS 2025).
    """
    return Method(reduce=mean(adapter=weighting), server=replace_server())
