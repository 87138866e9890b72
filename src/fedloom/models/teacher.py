"""A frozen model whose predictions another learns from, each computed once."""

from collections.abc import Sequence
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from fedloom.core.contracts import Example, Outputs, Tree
from fedloom.core.errors import FedloomError
from fedloom.models.vision.features import FeatureCache


class Model(Protocol):
    """What a teacher is asked, and what is compared with who learns."""

    name: str
    fingerprint: str
    vocabulary: dict[str, int] | None
    """Ids by token, and how many a language model knows, of one that answers in text."""

    def content(self, example: Example) -> str:
        """All of an example that decides its outputs."""

    def outputs_of(self, examples: Sequence[Example]) -> Outputs:
        """Its outputs for examples."""

    def check(self, examples: Sequence[Example], trained: bool) -> None:
        """Refuse examples that it cannot take."""


class Teacher:
    """``model``, frozen. Its predictions are kept in memory up to ``limit`` bytes."""

    def __init__(self, model: Model, limit: int) -> None:
        self.model = model
        self._kept = FeatureCache(None, 0, limit)

    def check(self, learner: Model) -> None:
        """See that what it predicts is what ``learner`` does.

        Raises:
            FedloomError: one answers in text and the other does not, or they have other vocabularies.
        """
        mine, its = self.model.vocabulary, learner.vocabulary
        if (mine is None) != (its is None):
            kind = "matches pictures with captions" if mine is None else "answers in text"
            raise FedloomError(
                f"objective.teacher = {self.model.name!r} {kind}, and {learner.name!r} does not. Choose a teacher of "
                "the same kind."
            )
        if mine != its:
            assert mine is not None
            assert its is not None
            raise FedloomError(
                f"objective.teacher = {self.model.name!r} has another vocabulary ({len(mine)} tokens) than "
                f"{learner.name!r} ({len(its)}), whose next tokens it should predict. Choose a teacher with the same "
                "tokenizer."
            )

    @torch.no_grad()
    def rows(self, examples: Sequence[Example]) -> list[Tensor]:
        """Its predictions for each example, logits ``[s, v]`` at the places that are there, on the CPU; computed one by
        one, so that their bits depend on no batch."""
        return [
            self._kept.get(self.model.content(example), partial(self._row, example))["logits"] for example in examples
        ]

    def _row(self, example: Example) -> Tree:
        found = self.model.outputs_of([example]).predictions()
        return {"logits": found.logits[0][found.there[0]].cpu().clone()}
