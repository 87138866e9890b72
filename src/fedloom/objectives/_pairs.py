"""The symmetric contrastive loss within a batch."""

import torch
from torch import Tensor
from torch.nn import functional as F

from fedloom.core.contracts import Pairs


def within_batch(pairs: Pairs, left_out: Tensor | None = None) -> Tensor:
    """The contrastive loss of each example, ``[B]``, whose own caption is on the diagonal.

    Softmax (Radford et al. 2021, figure 3): example b has half of the cross-entropy of row b and half of that of column
    b, targets 0 to B - 1. Sigmoid (Zhai et al. 2023, equation 1): ``-sum_k log sigmoid(z_bk logits_bk)`` with z = 1 on
    the diagonal and -1 elsewhere. ``left_out`` ``[B, B]``: pairs that count as neither.
    """
    logits = pairs.logits
    if pairs.sigmoid:
        signs = 2 * torch.eye(len(logits), device=logits.device) - 1
        terms = F.logsigmoid(signs * logits)
        return -(terms if left_out is None else terms.masked_fill(left_out, 0.0)).sum(dim=1)
    if left_out is not None:
        logits = logits.masked_fill(left_out, -torch.inf)
    gold = torch.arange(len(logits), device=logits.device)
    rows = F.cross_entropy(logits, gold, reduction="none")
    return (rows + F.cross_entropy(logits.T, gold, reduction="none")) / 2
