import torch

from fedloom.objectives.answer import answer
from tests.objectives.fixed import Fixed


def test_it_is_a_backbones_own_loss() -> None:
    made = answer()
    assert made.needs == ("answers",)
    assert torch.equal(made.loss(Fixed(losses=torch.tensor([1.5, 2.0]))), torch.tensor([1.5, 2.0]))
