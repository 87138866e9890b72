from math import exp, log

import torch

from fedloom.core.contracts import Pairs
from fedloom.objectives.in_batch import in_batch
from tests.objectives.fixed import Fixed

OTHERS = torch.eye(2, dtype=torch.bool)


def test_a_softmax_models_loss_is_half_of_its_row_and_half_of_its_column() -> None:
    """Odds by hand: rows 1:1 and 3:4 (of 7), columns 1:3 (of 4) and 1:4 (of 5)."""
    logits = torch.tensor([[1.0, 1.0], [3.0, 4.0]]).log()
    losses = in_batch().loss(Fixed(matched=Pairs(logits, OTHERS, sigmoid=False)))
    expected = [(log(2) + log(4)) / 2, (log(7 / 4) + log(5 / 4)) / 2]
    torch.testing.assert_close(losses, torch.tensor(expected))


def test_a_sigmoid_models_loss_is_the_sum_over_its_pairs() -> None:
    logits = torch.tensor([[2.0, -1.0], [0.0, 1.0]])
    losses = in_batch().loss(Fixed(matched=Pairs(logits, OTHERS, sigmoid=True)))
    expected = [log(1 + exp(-2)) + log(1 + exp(-1)), log(1 + exp(0)) + log(1 + exp(-1))]
    torch.testing.assert_close(losses, torch.tensor(expected))


def test_it_is_for_models_that_match() -> None:
    assert in_batch().needs == ("pairs",)
