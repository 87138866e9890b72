"""Classes of which there are few examples: larger margins, and weights of their own at the end."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from fedloom.core.contracts import Example, Objective, Outputs
from fedloom.core.errors import FedloomError
from fedloom.core.table import Positive

Share = Annotated[float, Field(ge=0, le=1)]


def ldam(
    margin: Positive = 0.5,
    scale: Positive = 30.0,
    beta: Annotated[float, Field(ge=0, lt=1)] = 0.9999,
    deferred: Share = 0.8,
) -> Objective:
    """Label-distribution-aware margins with deferred re-weighting: what IconQA's icons are learnt with.

    Cao et al. 2019 (arXiv 1906.07413), equations 10 to 13 and the released code, over the scores z of the classes::

        L = w_y cross-entropy(z - scale m_y e_y, y),   m_j = margin (n_min / n_j)^(1/4)

    with n_j how many of the examples that a turn trains on are of class j, and n_min the fewest of a class that is
    there. Scores are ``scale`` times cosines in the paper; a model that has them so (``nano-resnet``, a CLIP at its own
    temperature) gets margins of ``margin`` at most between cosines. Weights w are 1 until the share ``deferred`` of the
    rounds is done, and from then on those of effective numbers (Cui et al. 2019, arXiv 1901.05555, equation 1), of mean
    1 over the classes that are there::

        w_j ~ (1 - beta) / (1 - beta^n_j)

    Each client counts its own examples. A class that it has none of has the largest margin, and is no one's answer. A
    batch's loss is divided by its size; the released code divides by the weights of its examples.

    Args:
        margin: the largest margin, that of the rarest class.
        scale: what scores multiply cosines with.
        beta: how fast further examples of a class add nothing.
        deferred: the share of the rounds without weights; 1: none have them.
    """

    def turn(examples: Sequence[Example], done: float) -> Objective:
        classes = examples[0].choices
        counts = Counter(example.answer for example in examples)
        numbers = torch.tensor([float(counts[name]) for name in classes])
        there = numbers > 0
        fewest = numbers[there].min()
        margins = scale * margin * (fewest / numbers.clamp(min=float(fewest))) ** 0.25
        weights = torch.ones(len(classes))
        if done >= deferred:
            weights = torch.where(there, (1 - beta) / (1 - beta ** numbers.clamp(min=1.0)), 0.0)
            weights = weights * there.sum() / weights.sum()
        return replace(made, loss=lambda outputs: _loss(outputs, margins, weights))

    def untold(outputs: Outputs) -> Tensor:
        return turn(outputs.examples, 0.0).loss(outputs)

    made = Objective(untold, ("choices",), _same, turn=turn)
    return made


def _loss(outputs: Outputs, margins: Tensor, weights: Tensor) -> Tensor:
    found = outputs.choices()
    gold = found.gold[:, None]
    margins, weights = margins.to(found.scores.device), weights.to(found.scores.device)
    scores = found.scores.scatter_add(1, gold, -margins[gold].to(found.scores.dtype))
    return weights[found.gold] * F.cross_entropy(scores, found.gold, reduction="none")


def _same(examples: Sequence[Example]) -> None:
    for example in examples:
        if not example.choices or example.choices != examples[0].choices:
            raise FedloomError(
                f"objective.name = 'ldam': example {example.id!r} has choices of its own, or none, and margins belong "
                "to classes that are the same for all. Choose a task such as icons-classify, or objective 'answer'."
            )
