"""Each label a yes or no."""

import torch
from torch import Tensor
from torch.nn import functional as F

from fedloom.core.contracts import Objective, Outputs


def bce() -> Objective:
    """Binary cross-entropy of each label, summed: every output is told apart from the right one by itself.

    L = sum_l -y_l log sigmoid(z_l) - (1 - y_l) log(1 - sigmoid(z_l)), y_l = 1 for the right label and 0 else: the mean
    over labels times their number, Patch-TRM's loss (Lu et al. 2021, arXiv 2110.13214, released code). Where no output
    is right all of them are to say no.
    """

    def loss(outputs: Outputs) -> Tensor:
        found = outputs.labels()
        targets = torch.zeros_like(found.logits)
        rows = (found.gold >= 0).nonzero()[:, 0]
        targets[rows, found.gold[rows]] = 1.0
        each = F.binary_cross_entropy_with_logits(found.logits, targets, reduction="none")
        return torch.where(found.counted, each, 0.0).sum(dim=-1)

    return Objective(loss, ("labels",))
