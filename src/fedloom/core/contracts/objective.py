"""What clients minimise, over what a model puts out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from fedloom.core.contracts.data import Example


def _any(examples: Sequence[Example]) -> None:
    return None


@dataclass(frozen=True)
class Objective:
    """``loss(outputs)``: the loss of each example, ``[B]``, from a model's outputs for a batch.
    ``check(examples)``: refuses examples that it cannot learn from, before anything is trained."""

    loss: Callable[[Any], Tensor]
    check: Callable[[Sequence[Example]], None] = _any
