"""What clients minimise, over what a model puts out for a batch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor

from fedloom.core.contracts.data import Example

Part = Literal["answers", "choices", "labels", "likelihoods", "pairs", "predictions"]
"""What an objective may need of a model's outputs."""


@dataclass(frozen=True)
class Choices:
    """Scores ``[B, C]`` of each example's choices in their order, minus infinity where it has fewer; ``gold`` ``[B]``:
    the place of the right one."""

    scores: Tensor
    gold: Tensor


@dataclass(frozen=True)
class Labels:
    """Logits ``[B, L]`` of a model's outputs, each for a label; ``counted`` ``[B, L]``: which of them are learnt from;
    ``gold`` ``[B]``: the right one, -1 where none is."""

    logits: Tensor
    counted: Tensor
    gold: Tensor


@dataclass(frozen=True)
class Pairs:
    """Logits ``[B, B]`` of each picture (row) for the caption of each example's answer (column); ``same`` ``[B, B]``:
    both examples have the same caption; ``sigmoid``: the model tells pairs apart one by one, as SigLIP does."""

    logits: Tensor
    same: Tensor
    sigmoid: bool


@dataclass(frozen=True)
class Predictions:
    """What is predicted at each place, as logits ``[B, S, V]``; ``there`` ``[B, S]``: which places are. Of a model that
    answers in text: the next token at each token of the answer; of another: the choice, at one place."""

    logits: Tensor
    there: Tensor


class Outputs(Protocol):
    """A model's outputs for a batch, each computed when it is asked for, and differentiable by what learns."""

    examples: Sequence[Example]

    def answers(self) -> Tensor:
        """Loss of each example's answer, ``[B]``: the mean cross-entropy of its tokens and its end, or the
        cross-entropy among its choices."""

    def likelihoods(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Log-likelihood of a text as each example's answer, summed over its tokens and its end, ``[B]``, and how many
        these are, ``[B]``."""

    def choices(self) -> Choices:
        """Scores of each example's choices: log-likelihoods, or logits."""

    def labels(self) -> Labels:
        """An output for each label: of a model that has a fixed number, all of them; of one that matches pictures with
        captions, those of the batch's choices. Not of a model that answers in text."""

    def pairs(self) -> Pairs:
        """Each picture against the caption of each answer. Only of a model that matches pictures with captions."""

    def predictions(self) -> Predictions:
        """The distributions behind the answers. Not of a language model that is elsewhere."""

    def reference(self, texts: Sequence[str]) -> Tensor:
        """As ``likelihoods``, of the model without its adapter, ``[B]``: computed once for each text, and no gradient
        goes through it."""

    def taught(self) -> Predictions:
        """The teacher's predictions for the same, computed once for each example; no gradient goes through them."""


def _any(examples: Sequence[Example]) -> None:
    return None


def _none(example: Example) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True)
class Objective:
    """``loss(outputs)``: the loss of each example, ``[B]``. ``needs``: the parts of the outputs that it asks for, so
    that a model without them is refused before anything is trained. ``check(examples)``: refuses examples that cannot
    be learned from. ``teacher``, ``revision``: the name of a frozen model whose predictions it asks for, and which of
    the hub's is meant. ``texts(example)``: what it learns the likelihood of, besides the answer. ``turn(examples,
    done)``: the objective of a client's turn, by the examples that it trains on and the share of the rounds that are
    done (0 in the first), where it is not the same in all of them."""

    loss: Callable[[Outputs], Tensor]
    needs: tuple[Part, ...] = ("answers",)
    check: Callable[[Sequence[Example]], None] = _any
    teacher: str = ""
    revision: str = ""
    texts: Callable[[Example], tuple[str, ...]] = _none
    turn: "Callable[[Sequence[Example], float], Objective] | None" = None
