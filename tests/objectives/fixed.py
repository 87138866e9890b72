"""Outputs of no model, with numbers that are written down, and examples for them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fedloom.core.contracts import Choices, Example, Labels, Pairs, Predictions


def example(answer: str = "a", choices: tuple[str, ...] = (), rejected: str = "", id: str = "e") -> Example:
    return Example(id, (), "which ?", choices, answer, rejected=rejected)


@dataclass
class Fixed:
    """Each part is what it is given; likelihoods have a row for the answers and one for the rejected."""

    examples: tuple[Example, ...] = (example(),)
    losses: Tensor = field(default_factory=lambda: torch.zeros(1))
    made: Choices | None = None
    labelled: Labels | None = None
    matched: Pairs | None = None
    sums: Tensor | None = None
    counts: Tensor | None = None
    before: Tensor | None = None
    predicted: Predictions | None = None
    theirs: Predictions | None = None

    def answers(self) -> Tensor:
        return self.losses

    def choices(self) -> Choices:
        assert self.made is not None
        return self.made

    def labels(self) -> Labels:
        assert self.labelled is not None
        return self.labelled

    def pairs(self) -> Pairs:
        assert self.matched is not None
        return self.matched

    def likelihoods(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        assert self.sums is not None
        assert self.counts is not None
        row = self._row(texts)
        return self.sums[row], self.counts[row]

    def reference(self, texts: Sequence[str]) -> Tensor:
        assert self.before is not None
        return self.before[self._row(texts)]

    def _row(self, texts: Sequence[str]) -> int:
        """0: the answers; 1: those that are rejected."""
        return [[e.answer for e in self.examples], [e.rejected for e in self.examples]].index(list(texts))

    def predictions(self) -> Predictions:
        assert self.predicted is not None
        return self.predicted

    def taught(self) -> Predictions:
        assert self.theirs is not None
        return self.theirs
