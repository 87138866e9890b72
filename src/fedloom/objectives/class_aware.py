"""Each picture with its caption among those of the batch, but for its own class."""

import torch
from torch import Tensor

from fedloom.core.contracts import Objective, Outputs
from fedloom.objectives._checks import with_choices
from fedloom.objectives._pairs import within_batch


def class_aware() -> Objective:
    """The contrastive loss within the batch without false negatives.

    As ``in-batch``, but a pair of two examples with the same caption counts as neither a match nor a mismatch: its
    logit is left out of both softmaxes, or its term out of the sum of sigmoids. Where a batch has no class twice it
    is ``in-batch``; where it has one alone, softmax gives 0.
    """

    def loss(outputs: Outputs) -> Tensor:
        pairs = outputs.pairs()
        other = ~torch.eye(len(pairs.logits), dtype=torch.bool, device=pairs.logits.device)
        return within_batch(pairs, pairs.same & other)

    return Objective(loss, ("pairs",), with_choices("class-aware"))
