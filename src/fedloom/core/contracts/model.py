"""What a model provides: batches, their losses, answers, and an adapter that is read and written."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from fedloom.core.contracts.data import Example, Tree


@runtime_checkable
class Backbone(Protocol):
    """A frozen vision-language model with one trainable adapter. No ``nn.Module`` is reached through it."""

    name: str
    fingerprint: str
    """Hash of all of the base model that decides its outputs: an adapter belongs to one fingerprint."""
    total_parameters: int

    def collate(self, examples: Sequence[Example]) -> Any:
        """A batch as ``loss`` wants it, on the device; frozen features come from the cache."""

    def loss(self, batch: Any) -> Tensor:
        """Loss of each example, ``[B]``, as in training: with dropout where gradients are wanted. What is drawn is from
        torch's global generator, which the training loop seeds before each step. A backbone that draws anything here
        has a context ``steady()`` besides, in which it does not."""

    def answer(self, examples: Sequence[Example]) -> list[str]:
        """An answer an example: the likeliest choice, or generated text where there are no choices."""

    def leaves(self) -> Tree:
        """The live adapter tensors (``requires_grad``), by PEFT name; an optimiser may step on them."""

    def read(self) -> Tree:
        """A detached CPU copy of the adapter."""

    def write(self, adapter: Mapping[str, Tensor], base: Mapping[str, Tensor] | None = None) -> None:
        """Set the adapter (LoRA pairs may have another rank than now) and the change to the base.

        ``base`` holds LoRA pairs of any rank whose plain product B A (no further scale) is added to the original base
        weight: the weights become W0 + B A, whatever they were before. ``None`` or empty: W0.

        Raises:
            FedloomError: names or shapes are not this backbone's.
        """

    def save(self, folder: Path, adapter: Mapping[str, Tensor], base: Mapping[str, Tensor] | None, card: str) -> None:
        """Write a PEFT adapter folder that holds ``adapter`` and the change to the base, with ``card`` as README."""


@runtime_checkable
class Weigher(Protocol):
    """A backbone that tells how likely each choice is to it, which figures like an AUC are made of. Those of this
    package can."""

    def weighed(self, examples: Sequence[Example]) -> list[tuple[str, tuple[float, ...]]]:
        """What ``answer`` says of each example, and the probability of each of its choices, among them alone and in
        their order: ``p_i = exp(s_i) / sum_j exp(s_j)`` of the numbers s that rank them. Empty for a free answer."""


@runtime_checkable
class Preparer(Protocol):
    """A backbone that keeps what frozen parts make of examples, and can make it for many at once. Those that match
    pictures with captions do."""

    def prepare(self, examples: Sequence[Example]) -> None:
        """Compute what is kept of examples, all of which will be asked for.

        Raises:
            FedloomError: one cannot be read.
        """


@runtime_checkable
class Learner(Protocol):
    """A backbone whose objective may differ from turn to turn. Those of this package are."""

    def begin_turn(self, examples: Sequence[Example], done: float) -> None:
        """From now on what is minimised is the objective of this turn (``Objective.turn``)."""


@runtime_checkable
class Scaler(Protocol):
    """A backbone whose pairs can count more or less. Those of this package can."""

    def rescale(self, factor: float) -> None:
        """From now on every B A counts ``factor`` times what alpha / rank says; 1 is as it was."""


@runtime_checkable
class Examiner(Protocol):
    """A backbone that can tell before the first round whether it can take all examples. Those of this package can."""

    def check(self, examples: Sequence[Example], trained: bool) -> None:
        """Look at the text of all examples; ``trained``: their answers are learned, else they are to be answered.

        Raises:
            FedloomError: naming an example that does not fit, and why.
        """
