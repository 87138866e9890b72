"""What a backbone puts out for a batch, part by part, for an objective (``core.contracts.Outputs``)."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from fedloom.core.contracts import Choices, Example, Labels, Pairs, Part, Predictions
from fedloom.core.errors import FedloomError
from fedloom.core.passage import IGNORE, Target
from fedloom.models.teacher import Teacher

Reference = Callable[[Sequence[Example], Sequence[str]], Tensor]
"""Log-likelihoods ``[B]`` of texts, of the model without its adapter."""


def undeclared(part: str, fix: str = "List it in 'needs'.") -> FedloomError:
    """That an objective asks for a part of the outputs without having said so, and there is none."""
    return FedloomError(f"objective: it asks for {part!r} of the outputs, which are not there. Fix: {fix}")


class Aside:
    """What all outputs have beside those of the batch itself: the ``teacher``'s, and the ``reference``'s. A part that a
    kind of model lacks is an error here; an objective that says what it needs is refused before."""

    def __init__(self, examples: Sequence[Example], teacher: Teacher | None, reference: Reference) -> None:
        self.examples = examples
        self._teacher, self._reference = teacher, reference

    def reference(self, texts: Sequence[str]) -> Tensor:
        """Log-likelihood ``[B]`` of a text as each example's answer, of the model without its adapter."""
        return self._reference(self.examples, texts)

    def labels(self) -> Labels:
        """An output for each label; here, there is none."""
        raise undeclared("labels")

    def pairs(self) -> Pairs:
        """Pictures against captions; here, there are none."""
        raise undeclared("pairs")

    def likelihoods(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Log-likelihoods of texts; here, there are none."""
        raise undeclared("likelihoods")

    def taught(self) -> Predictions:
        """A teacher's predictions; here, there are none."""
        raise undeclared("taught")

    def _taught(self) -> list[Tensor]:
        """The teacher's logits ``[s, v]`` for each example."""
        if self._teacher is None:
            raise undeclared("taught", "Name its 'teacher'.")
        return self._teacher.rows(self.examples)


def _at(logits: Tensor, columns: Sequence[Sequence[int]]) -> Tensor:
    """Of each row ``[B, K]`` those of its columns, in their order, ``[B, C]``; minus infinity where it has fewer."""
    rows = [torch.tensor(list(own), device=logits.device) for own in columns]
    places = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1)
    return logits.gather(1, places.clamp(min=0)).masked_fill(places < 0, -torch.inf)


class Matched(Aside):
    """Of a model that matches pictures with captions. ``score(captions)``: logits ``[B, K]`` of the batch's pictures
    for captions; ``columns``: those of ``captions`` that are each example's choices, in their order; ``own`` ``[B,
    K]``: the same as a mask; ``gold`` ``[B]``: the right column."""

    def __init__(
        self,
        aside: Aside,
        captions: tuple[str, ...],
        columns: Sequence[Sequence[int]],
        own: Tensor,
        gold: Tensor,
        score: Callable[[tuple[str, ...]], Tensor],
        sigmoid: bool,
    ) -> None:
        super().__init__(aside.examples, aside._teacher, aside._reference)
        self._captions, self._columns, self._own, self._gold = captions, columns, own, gold
        self._score, self._sigmoid = score, sigmoid

    @cached_property
    def _logits(self) -> Tensor:
        return self._score(self._captions)

    def answers(self) -> Tensor:
        """Cross-entropy ``[B]`` of the right caption among those of each example's own choices."""
        return F.cross_entropy(self._logits.masked_fill(~self._own, -torch.inf), self._gold, reduction="none")

    def choices(self) -> Choices:
        """Logits ``[B, C]`` of each example's choices."""
        scores = _at(self._logits, self._columns)
        gold = [example.choices.index(example.answer) for example in self.examples]
        return Choices(scores, torch.tensor(gold, device=scores.device))

    def likelihoods(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Log-probability ``[B]`` of a choice among each example's own, which counts as one token."""
        scores = self.choices().scores
        place = [example.choices.index(text) for example, text in zip(self.examples, texts, strict=True)]
        chosen = scores.log_softmax(dim=-1).gather(1, torch.tensor(place, device=scores.device)[:, None])[:, 0]
        return chosen, torch.ones_like(chosen)

    def labels(self) -> Labels:
        """Logits ``[B, K]`` of the batch's distinct captions, of which each example counts its own choices."""
        return Labels(self._logits, self._own, self._gold)

    def pairs(self) -> Pairs:
        """Each picture against the caption of each answer, ``[B, B]``; a caption that several have is read once."""
        columns = self._gold.tolist()
        place = {column: number for number, column in enumerate(dict.fromkeys(columns))}
        logits = self._score(tuple(self._captions[column] for column in place))
        logits = logits[:, [place[column] for column in columns]]
        return Pairs(logits, self._gold[:, None] == self._gold[None, :], self._sigmoid)

    def predictions(self) -> Predictions:
        """The choices' logits, ``[B, 1, C]``."""
        scores = self.choices().scores
        return Predictions(scores[:, None], torch.ones(len(scores), 1, dtype=torch.bool, device=scores.device))

    def taught(self) -> Predictions:
        """The teacher's logits of the choices, ``[B, 1, C]``; it has been given the same choices."""
        rows = [row[0] for row in self._taught()]
        logits = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-torch.inf).to(self._own.device)
        widest = max(len(example.choices) for example in self.examples)
        there = torch.ones(len(rows), 1, dtype=torch.bool, device=logits.device)
        return Predictions(logits[:, None, :widest], there)


class Rated(Aside):
    """Of a model with an output for each label. ``logits``: those of a batch, ``[B, L]``; ``columns``: the outputs of
    each example's choices, in their order (of a free answer: all); ``gold`` ``[B]``: the right output, -1 where it is
    none of them."""

    def __init__(
        self, aside: Aside, columns: Sequence[Sequence[int]], gold: Tensor, logits: Callable[[], Tensor]
    ) -> None:
        super().__init__(aside.examples, aside._teacher, aside._reference)
        self._columns, self._gold, self._make = columns, gold, logits

    @cached_property
    def _logits(self) -> Tensor:
        return self._make()

    def answers(self) -> Tensor:
        """Cross-entropy ``[B]`` of the right output among those of each example's choices."""
        own = torch.zeros_like(self._logits, dtype=torch.bool)
        for row, columns in enumerate(self._columns):
            own[row, list(columns)] = True
        logits = self._logits.masked_fill(~own, -torch.inf)
        return F.cross_entropy(logits, self._gold, reduction="none", ignore_index=-1)

    def choices(self) -> Choices:
        """Logits ``[B, C]`` of each example's choices."""
        scores = _at(self._logits, self._columns)
        gold = [list(columns).index(right) for columns, right in zip(self._columns, self._gold.tolist(), strict=True)]
        return Choices(scores, torch.tensor(gold, device=scores.device))

    def labels(self) -> Labels:
        """All outputs ``[B, L]``, each of which is learnt from."""
        return Labels(self._logits, torch.ones_like(self._logits, dtype=torch.bool), self._gold)

    def predictions(self) -> Predictions:
        """The choices' logits, ``[B, 1, C]``."""
        scores = self.choices().scores
        return Predictions(scores[:, None], torch.ones(len(scores), 1, dtype=torch.bool, device=scores.device))


class Asked(Protocol):
    """A batch of a model that answers in text."""

    @property
    def examples(self) -> tuple[Example, ...]:
        """Whose it is."""

    @property
    def target(self) -> Target:
        """What is to be predicted."""


_NO_PAIRS = "answers in text and matches no pictures with captions. Choose objective 'answer' or 'classes', or a model "
SPOKEN_LACKS: dict[Part, str] = {
    "pairs": f"{_NO_PAIRS}such as nano-clip.",
    "labels": "answers in text and has no output for each label. Choose objective 'answer' or 'classes', or a model "
    "such as patch-trm.",
    "predictions": "has its language model elsewhere, which tells losses and no predictions. Set split.wire = 'none', "
    "or choose objective 'answer', 'classes' or 'preference'.",
}
"""Why a model that answers in text lacks a part of the outputs, and what would fit."""


class Spoken(Aside):
    """Of a model that answers in text. ``collate``: a batch of examples; ``losses``: the mean cross-entropy of each
    row's answer; ``logits``: of the next tokens at the answers' places, ``[B, S, V]``; ``normalise``: choices are
    scored by their mean log-likelihood."""

    def __init__(
        self,
        aside: Aside,
        batch: Asked,
        collate: Callable[[Sequence[Example]], Any],
        losses: Callable[[Any], Tensor],
        logits: Callable[[Any], Tensor],
        normalise: bool,
    ) -> None:
        super().__init__(aside.examples, aside._teacher, aside._reference)
        self._batch, self._collate, self._losses, self._logits = batch, collate, losses, logits
        self._normalise = normalise

    def answers(self) -> Tensor:
        """Mean cross-entropy ``[B]`` over the tokens of each answer and its end: of the predictions, where these were
        asked for already."""
        return self._batch.target.losses(self._next) if "_next" in vars(self) else self._losses(self._batch)

    def likelihoods(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Summed log-likelihood ``[B]`` of a text as each example's answer, and its tokens with the end."""
        same = all(example.answer == text for example, text in zip(self.examples, texts, strict=True))
        return self._summed(self._batch if same else self._collate(_answered(self.examples, texts)))

    def choices(self) -> Choices:
        """Log-likelihoods ``[B, C]`` of each example's choices: every choice is a row."""
        every = [example for example in self.examples for _ in example.choices]
        texts = [choice for example in self.examples for choice in example.choices]
        found, length = self._summed(self._collate(_answered(every, texts)))
        parts = torch.split(found / length if self._normalise else found, [len(e.choices) for e in self.examples])
        scores = torch.nn.utils.rnn.pad_sequence(list(parts), batch_first=True, padding_value=-torch.inf)
        gold = [example.choices.index(example.answer) for example in self.examples]
        return Choices(scores, torch.tensor(gold, device=scores.device))

    def predictions(self) -> Predictions:
        """Logits of the next token at each token of the answer, ``[B, S, V]``."""
        return Predictions(self._next, self._batch.target.wanted != IGNORE)

    @cached_property
    def _next(self) -> Tensor:
        return self._logits(self._batch)

    def taught(self) -> Predictions:
        """The teacher's logits at the same places, ``[B, S, V]``."""
        there = self._batch.target.wanted != IGNORE
        flat = torch.cat(self._taught()).to(there.device)
        logits = flat.new_zeros(*there.shape, flat.shape[1])
        logits[there] = flat
        return Predictions(logits, there)

    def _summed(self, batch: Asked) -> tuple[Tensor, Tensor]:
        length = (batch.target.wanted != IGNORE).sum(dim=1)
        return -self._losses(batch) * length, length


def answered(example: Example, text: str) -> Example:
    """The example with another answer, whichever it is."""
    return replace(example, answer=text, choices=())


def _answered(examples: Sequence[Example], texts: Sequence[str]) -> list[Example]:
    """Examples with other answers."""
    return [answered(example, text) for example, text in zip(examples, texts, strict=True)]


def not_finite(example: Example, what: str) -> FedloomError:
    """The error of an example that the model has no finite scores for."""
    return FedloomError(
        f"example {example.id!r}: the model's scores of its {what} are not finite numbers; none is the likeliest. "
        "Lower client.lr or the server's rate and start anew; before round 1, choose a whole checkpoint."
    )
