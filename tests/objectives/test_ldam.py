"""Margins by class counts, and weights at the end, with numbers worked out by hand."""

from math import exp, log

import pytest
import torch

from fedloom.core.contracts import Choices, Example
from fedloom.core.errors import FedloomError
from fedloom.objectives.ldam import ldam
from tests.objectives.fixed import Fixed, example

NAMES = ("ant", "bee", "cow")


def held(**counts: int) -> list[Example]:
    return [example(answer=name, choices=NAMES) for name, count in counts.items() for _ in range(count)]


def given(scores: list[list[float]], gold: list[int]) -> Fixed:
    return Fixed(made=Choices(torch.tensor(scores, dtype=torch.float64), torch.tensor(gold)))


def cross(scores: list[float], gold: int) -> float:
    return log(sum(map(exp, scores))) - scores[gold]


def test_margins_are_those_of_the_counts() -> None:
    """16, 1 and 81 examples: fourth roots 2, 1 and 3; the rarest has the whole margin of 0.5, times the scale of 10."""
    now = ldam(scale=10.0).turn
    assert now is not None
    made = now(held(ant=16, bee=1, cow=81), 0.0)
    losses = made.loss(given([[3.0, 1.0, 0.0], [3.0, 1.0, 0.0], [3.0, 1.0, 0.0]], [0, 1, 2]))
    expected = [cross([3 - 2.5, 1, 0], 0), cross([3, 1 - 5, 0], 1), cross([3, 1, 0 - 5 / 3], 2)]
    torch.testing.assert_close(losses, torch.tensor(expected, dtype=torch.float64))


def test_weights_come_when_the_deferred_share_is_done() -> None:
    """beta = 1/2 with counts of 1, 2 and 3: (1 - 1/2) / (1 - 1/2^n) = 1, 2/3, 4/7, of mean 1."""
    now = ldam(scale=1.0, beta=0.5, deferred=0.75).turn
    assert now is not None
    examples = held(ant=1, bee=2, cow=3)
    scores = [[0.2, 0.1, 0.0]] * 3
    before, after = (now(examples, done).loss(given(scores, [0, 1, 2])) for done in (0.7499, 0.75))
    total = 1 + 2 / 3 + 4 / 7
    weights = torch.tensor([3 * w / total for w in (1, 2 / 3, 4 / 7)], dtype=torch.float64)
    torch.testing.assert_close(after, before * weights, rtol=1e-6, atol=0)
    margins = [0.5, 0.5 * 0.5**0.25, 0.5 * (1 / 3) ** 0.25]
    expected = [cross([v - margins[k] * (k == j) for k, v in enumerate(scores[0])], j) for j in range(3)]
    torch.testing.assert_close(before, torch.tensor(expected, dtype=torch.float64), rtol=1e-6, atol=0)


def test_a_class_that_a_client_lacks_counts_for_nothing() -> None:
    now = ldam(deferred=0.0, scale=1.0).turn
    assert now is not None
    losses = now(held(ant=4, cow=4), 0.0).loss(given([[1.0, 0.0, 2.0], [1.0, 0.0, 2.0]], [0, 2]))
    expected = [cross([0.5, 0, 2], 0), cross([1, 0, 1.5], 2)]  # as many of each: the same margin, weights of 1
    torch.testing.assert_close(losses, torch.tensor(expected, dtype=torch.float64), rtol=1e-6, atol=0)


def test_classes_must_be_the_same_for_all() -> None:
    made = ldam()
    made.check(held(ant=2))
    for bad in (example(id="x"), example(id="x", choices=("ant", "bee"))):
        with pytest.raises(
            FedloomError, match=r"objective\.name = 'ldam': example 'x' has choices of its own, or none"
        ):
            made.check([*held(ant=1), bad])
