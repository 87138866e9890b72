from math import exp, log

import pytest
import torch

from fedloom.core.contracts import Pairs
from fedloom.objectives.class_aware import class_aware
from fedloom.objectives.in_batch import in_batch
from tests.objectives.fixed import Fixed

SAME = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]], dtype=torch.bool)  # the first two are of one class
ODDS = torch.tensor([[2.0, 5.0, 1.0], [7.0, 3.0, 1.0], [1.0, 2.0, 4.0]])


def test_pairs_of_one_class_are_in_no_softmax() -> None:
    losses = class_aware().loss(Fixed(matched=Pairs(ODDS.log(), SAME, sigmoid=False)))
    # Rows without their 5 and 7: 2 of 3, 3 of 4, 4 of 7. Columns: 2 of 3, 3 of 5, 4 of 6.
    expected = [log(3 / 2) / 2 + log(3 / 2) / 2, log(4 / 3) / 2 + log(5 / 3) / 2, log(7 / 4) / 2 + log(6 / 4) / 2]
    torch.testing.assert_close(losses, torch.tensor(expected))
    with_them = in_batch().loss(Fixed(matched=Pairs(ODDS.log(), SAME, sigmoid=False)))
    # The first: 2 of 8 in its row, 2 of 10 in its column.
    torch.testing.assert_close(with_them[0], torch.tensor(log(4) / 2 + log(5) / 2))
    torch.testing.assert_close(with_them[2], losses[2])


def test_a_pair_of_one_class_has_no_gradient() -> None:
    for sigmoid in (False, True):
        logits = ODDS.log().requires_grad_()
        class_aware().loss(Fixed(matched=Pairs(logits, SAME, sigmoid))).sum().backward()
        assert logits.grad is not None
        assert logits.grad[0, 1] == logits.grad[1, 0] == 0
        assert bool((logits.grad[~SAME] > 0).all())
        assert bool((logits.grad.diagonal() < 0).all())


def test_a_sigmoid_model_leaves_them_out_of_its_sum() -> None:
    logits = torch.tensor([[2.0, 9.0, -1.0], [9.0, 1.0, 0.0], [0.0, -2.0, 3.0]])
    losses = class_aware().loss(Fixed(matched=Pairs(logits, SAME, sigmoid=True)))
    expected = [
        log(1 + exp(-2)) + log(1 + exp(-1)),
        log(1 + exp(-1)) + log(2),
        log(2) + log(1 + exp(-2)) + log(1 + exp(-3)),
    ]
    torch.testing.assert_close(losses, torch.tensor(expected))


@pytest.mark.parametrize("sigmoid", [False, True])
def test_where_all_classes_differ_it_is_in_batch(sigmoid: bool) -> None:
    pairs = Fixed(matched=Pairs(ODDS.log(), torch.eye(3, dtype=torch.bool), sigmoid))
    torch.testing.assert_close(class_aware().loss(pairs), in_batch().loss(pairs))


def test_a_batch_of_one_class_has_no_softmax_loss() -> None:
    pairs = Fixed(matched=Pairs(ODDS.log(), torch.ones(3, 3, dtype=torch.bool), sigmoid=False))
    assert torch.equal(class_aware().loss(pairs), torch.zeros(3))
