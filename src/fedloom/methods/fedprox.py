"""Federated averaging whose clients are pulled back to where they began."""

from dataclasses import replace

from torch import Tensor

from fedloom.core import tree
from fedloom.core.contracts import Local, LocalRun, Method
from fedloom.methods._common import number
from fedloom.methods.fedavg import fedavg


def fedprox(mu: float = 0.01) -> Method:
    """FedAvg with a proximal term that keeps each client near the global adapter.

    Li et al. 2020 (arXiv 1812.06127), eq. (2): each client minimises ``F_k(w) + (mu / 2) ||w - w^t||^2``, with w^t the
    adapter it received, over the tensors that train. ``mu = 0`` is FedAvg.

    Raises:
        FedloomError: mu < 0.
    """
    number("fedprox: mu", mu, least=0.0)

    def term(run: LocalRun) -> Tensor:
        trained = {name: value for name, value in run.theta.items() if value.requires_grad}
        if "start" not in run.scratch:
            run.scratch["start"] = tree.to(run.start, trained)
        return mu / 2 * tree.squared_norm(tree.sub(trained, run.scratch["start"]))

    return replace(fedavg(), local=Local(term=term))
