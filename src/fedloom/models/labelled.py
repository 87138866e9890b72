"""Models with an output for each of their labels: the answer is the label whose output is largest.

Choices are outputs by their place, or by name where the labels have names; a free answer is one of all labels.
"""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from fedloom.core import limits
from fedloom.core.contracts import Example, Tree
from fedloom.core.device import device
from fedloom.core.errors import FedloomError
from fedloom.core.seeds import Seeds
from fedloom.core.spec import AdapterSpec
from fedloom.models.base import Tuned
from fedloom.models.checkpoints.checkpoint import Checkpoint
from fedloom.models.options import Options
from fedloom.models.outputs import Rated, not_finite
from fedloom.models.vision.features import FeatureCache
from fedloom.models.vision.images import Images

KIND = "full"
"""The adapter's kind that such a model takes."""


@dataclass(frozen=True)
class Batch:
    """``inputs``: what the network takes, on the device; ``columns``, ``gold``: as ``Rated`` has them."""

    examples: tuple[Example, ...]
    inputs: Any
    columns: tuple[Sequence[int], ...]
    gold: Tensor


class Labelled(Tuned):
    """A network whose outputs are labels; a subclass says what it reads of an example, and which labels it knows."""

    offers = ("answers", "choices", "labels", "predictions")
    lacks = MappingProxyType(
        {
            "likelihoods": "has an output for each label and no likelihood of a text. Choose objective 'answer' or "
            "'bce'.",
            "pairs": "has an output for each label and matches no pictures with captions. Choose objective 'answer' or "
            "'bce', or a model such as nano-clip.",
        }
    )
    names: tuple[str, ...] = ()
    """The labels of a free answer, or of choices that are found by name."""

    def __init__(
        self, checkpoint: Checkpoint, spec: AdapterSpec | None, seeds: Seeds, cache: FeatureCache, options: Options
    ) -> None:
        if spec and spec.kind != KIND:
            raise FedloomError(
                f"adapter.kind = {spec.kind!r}: {checkpoint.name!r} has outputs for labels, drawn from a seed, which "
                f"must learn themselves. Fix: set adapter.kind = {KIND!r}."
            )
        super().__init__(checkpoint, spec, seeds, cache, options)
        self._known: dict[tuple[str, ...], list[int]] = {}
        encode = self._encode if self._frozen("vision") else None
        self._images = Images(self._processor.image_processor, cache, self._key, encode)
        self._check_objective()

    @abstractmethod
    def _encode(self, pixels: Tree) -> Tree:
        """What the frozen network makes of pictures."""

    @abstractmethod
    def _inputs(self, examples: Sequence[Example]) -> Any:
        """What the network takes of examples, on the device."""

    @abstractmethod
    def _logits(self, inputs: Any) -> Tensor:
        """Its outputs ``[B, L]``."""

    def _columns(self, example: Example) -> Sequence[int]:
        """The outputs that may answer an example, in the order of its choices: here, those of the choices' names.

        Raises:
            FedloomError: it offers a choice that is no label.
        """
        if not example.choices:
            return range(len(self.names))
        if example.choices in self._known:
            return self._known[example.choices]
        place = {name: column for column, name in enumerate(self.names)}
        try:
            return self._known.setdefault(example.choices, [place[choice] for choice in example.choices])
        except KeyError:
            strange = next(choice for choice in example.choices if choice not in self.names)
            raise FedloomError(
                f"example {example.id!r}: {self.name!r} has no label {strange!r}. Choose a task whose classes are the "
                "model's."
            ) from None

    def _gold(self, example: Example) -> int:
        """The right output, -1 where it is none."""
        if example.choices:
            return self._columns(example)[example.choices.index(example.answer)]
        return self.names.index(example.answer) if example.answer in self.names else -1

    def check(self, examples: Sequence[Example], trained: bool) -> None:
        """Refuse examples that the model cannot learn or answer; no part of it is run.

        Raises:
            FedloomError: as ``collate``; a free answer that is learnt and is no label. One that is only asked for is
                wrong.
        """
        super().check(examples, trained)
        for example in examples:
            self._check(example)
        strange = [example for example in examples if self._gold(example) < 0] if trained else []
        if strange:
            first = ", ".join(f"{example.answer!r} of {example.id}" for example in strange[:3])
            raise FedloomError(
                f"{len(strange)} of {len(examples)} answers that are to be learnt are no labels of {self.name!r} "
                f"({first}). Choose a model whose answers are those of the task."
            )

    def _check(self, example: Example) -> None:
        """Refuse an example that the network cannot take.

        Raises:
            FedloomError: as ``collate``.
        """
        if example.choices and example.answer not in example.choices:
            raise FedloomError(
                f"example {example.id!r}: the answer {example.answer!r} is none of its choices {example.choices}."
            )
        self._columns(example)

    def prepare(self, examples: Sequence[Example]) -> None:
        """Have a frozen network look at all pictures that will be asked for.

        Raises:
            FedloomError: a picture cannot be opened.
        """
        self._images.prepare([picture for example in examples for picture in example.images])

    def collate(self, examples: Sequence[Example]) -> Batch:
        """What the network reads of the examples, and which outputs are right.

        Raises:
            FedloomError: an example that the network cannot take.
        """
        for example in examples:
            self._check(example)
        gold = torch.tensor([self._gold(example) for example in examples], device=device())
        return Batch(tuple(examples), self._inputs(examples), tuple(map(self._columns, examples)), gold)

    def outputs(self, batch: Batch) -> Rated:
        """The outputs of a batch."""

        def made() -> Tensor:
            with self._drawing(), self._autocast():
                return self._logits(batch.inputs).float()

        return Rated(self._aside(batch.examples), batch.columns, batch.gold, made)

    @torch.no_grad()
    def ranked(self, examples: Sequence[Example]) -> list[tuple[str, list[float]]]:
        """The answer of each example, and the outputs of its choices; none for a free answer.

        Raises:
            FedloomError: as ``collate``, or outputs that are not finite.
        """
        self.prepare(examples)
        answers: list[tuple[str, list[float]]] = []
        for start in range(0, len(examples), self._options.answer_batch):
            limits.tick()
            part = examples[start : start + self._options.answer_batch]
            for example in part:
                self._check(example)
            with self._autocast():
                logits = self._logits(self._inputs(part)).float().cpu()
            if (broken := ~logits.isfinite().all(dim=1)).any():
                raise not_finite(part[int(broken.int().argmax())], "labels")
            for example, row in zip(part, logits, strict=True):
                scores = row[list(self._columns(example))]
                best = int(scores.argmax())
                answers.append((example.choices[best], scores.tolist()) if example.choices else (self.names[best], []))
        return answers

    @contextmanager
    def _drawing(self) -> Iterator[None]:
        """While it lasts, and where gradients are wanted, what learns drops at random. Statistics of batches stay those
        of the checkpoint: the network that looks at pictures is never in training."""
        learning = [part for name, part in self._dropping() if not self._frozen(name)] if self._training else []
        for part in learning:
            part.train()
        try:
            yield
        finally:
            for part in learning:
                part.eval()

    def _dropping(self) -> Iterator[tuple[Any, nn.Module]]:
        """The parts of the network with dropout, by component."""
        for name, attribute in (("text", "text_model"), ("connector", "connector")):
            if hasattr(self._model, attribute):
                yield name, getattr(self._model, attribute)
