"""Each label a yes or no."""

from math import log

import pytest
import torch

from fedloom.core.contracts import Labels
from fedloom.core.errors import FedloomError
from fedloom.core.seeds import Seeds
from fedloom.models import AdapterSpec, load
from fedloom.objectives.bce import bce
from tests.objectives.fixed import Fixed, example


def test_by_hand() -> None:
    # sigmoid of log 3 is 3/4, of -log 4 1/5, of 0 1/2
    logits = torch.tensor([[log(3.0), -log(4.0), 0.0], [log(3.0), -log(4.0), 0.0]], requires_grad=True)
    counted = torch.tensor([[True, True, True], [True, True, False]])
    outputs = Fixed(examples=(example(), example()), labelled=Labels(logits, counted, torch.tensor([0, -1])))
    losses = bce().loss(outputs)
    expected = [-log(3 / 4) - log(4 / 5) - log(1 / 2), -log(1 / 4) - log(4 / 5)]  # none right, the third not counted
    torch.testing.assert_close(losses, torch.tensor(expected))
    losses.sum().backward()
    grad = torch.tensor([[3 / 4 - 1, 1 / 5, 1 / 2], [3 / 4, 1 / 5, 0.0]])  # sigmoid less target
    torch.testing.assert_close(logits.grad, grad)


def test_a_model_that_answers_in_text_is_refused() -> None:
    with pytest.raises(FedloomError, match=r"'nano-vlm' answers in text and has no output for each label\. Choose obj"):
        load("nano-vlm", adapter=AdapterSpec(rank=2), seeds=Seeds(0), objective=bce())
