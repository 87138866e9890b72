from math import inf, log

import pytest
import torch

from fedloom.core import resolve
from fedloom.core.contracts import Predictions
from fedloom.core.errors import FedloomError
from fedloom.objectives.distil import distil
from tests.objectives.fixed import Fixed, example


def outputs(mine: torch.Tensor, theirs: torch.Tensor, there: list[list[bool]]) -> Fixed:
    shown = torch.tensor(there)
    given = tuple(example(id=str(row)) for row in range(len(there)))
    losses = torch.arange(1.0, 1 + len(given))
    return Fixed(given, losses, predicted=Predictions(mine, shown), theirs=Predictions(theirs, shown))


def test_the_mean_over_an_examples_places_of_the_divergence_at_a_temperature() -> None:
    """Odds at T = 2, by hand: the teacher has 1/4, 3/4 and then 1/2, 1/2; the student 1/2, 1/2, and then 1/5, 4/5."""
    theirs = 2 * torch.tensor([[[1.0, 3.0], [1.0, 1.0]], [[1.0, 1.0], [9.0, 1.0]]]).log()
    mine = 2 * torch.tensor([[[1.0, 1.0], [1.0, 4.0]], [[5.0, 5.0], [1.0, 1.0]]]).log()
    first = log((1 / 4) / (1 / 2)) / 4 + 3 * log((3 / 4) / (1 / 2)) / 4
    second = log((1 / 2) / (1 / 5)) / 2 + log((1 / 2) / (4 / 5)) / 2
    losses = distil("t", temperature=2.0, weight=0.25).loss(outputs(mine, theirs, [[True, True], [True, False]]))
    expected = [0.75 * 1 + 0.25 * 4 * (first + second) / 2, 0.75 * 2.0]
    torch.testing.assert_close(losses, torch.tensor(expected))


def test_the_gradient_by_the_students_logits() -> None:
    """T^2 KL(p || q) has the gradient T (q - p): by hand, 2 (1/2 - 1/4)."""
    theirs, mine = 2 * torch.tensor([[[1.0, 3.0]]]).log(), torch.zeros(1, 1, 2, requires_grad=True)
    distil("t", temperature=2.0, weight=1.0).loss(outputs(mine, theirs, [[True]])).sum().backward()
    torch.testing.assert_close(mine.grad, torch.tensor([[[0.5, -0.5]]]))


def test_what_is_not_there_counts_for_nothing() -> None:
    theirs = torch.tensor([[[0.0, log(3.0), -inf]]])
    mine = torch.tensor([[[0.0, 0.0, -inf]]], requires_grad=True)
    losses = distil("t", 1.0, 1.0).loss(outputs(mine, theirs, [[True]]))
    torch.testing.assert_close(losses, torch.tensor([log(1 / 2) / 4 + 3 * log(3 / 2) / 4]))
    losses.sum().backward()
    torch.testing.assert_close(mine.grad, torch.tensor([[[0.25, -0.25, 0.0]]]))


def test_options_are_checked() -> None:
    made = resolve.build("objectives", "distil", {"teacher": "nano-vlm", "revision": ""})
    assert (made.teacher, made.needs) == ("nano-vlm", ("answers", "predictions"))
    for options in ({}, {"teacher": ""}, {"teacher": "x", "weight": 1.5}, {"teacher": "x", "temperature": 0.0}):
        with pytest.raises(FedloomError, match="objective"):
            resolve.build("objectives", "distil", options)
