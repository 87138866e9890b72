from math import inf, log

import pytest
import torch

from fedloom.core.contracts import Choices
from fedloom.core.errors import FedloomError
from fedloom.objectives.classes import classes
from tests.objectives.fixed import Fixed, example


def test_the_cross_entropy_over_the_scores_of_what_choices_there_are() -> None:
    scores = torch.tensor([[log(1.0), log(3.0), log(4.0)], [log(1.0), log(3.0), -inf]], requires_grad=True)
    losses = classes().loss(Fixed(made=Choices(scores, torch.tensor([2, 0]))))
    # 4 of 1 + 3 + 4, and 1 of 1 + 3: the third is not there.
    torch.testing.assert_close(losses, torch.tensor([log(2.0), log(4.0)]))
    losses.sum().backward()
    # softmax less one-hot
    torch.testing.assert_close(scores.grad, torch.tensor([[1 / 8, 3 / 8, -1 / 2], [-3 / 4, 3 / 4, 0.0]]))


def test_without_choices_it_is_refused() -> None:
    made = classes()
    made.check([example(choices=("a", "b"))])
    with pytest.raises(FedloomError, match=r"objective.name = 'classes': example 'x' has no choices. Choose a"):
        made.check([example(choices=("a", "b")), example(id="x")])
    assert made.texts(example(choices=("a", "b"))) == ("a", "b")
