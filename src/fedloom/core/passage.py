"""What a client hands to the language model, wherever that is: embeddings, and the codes that adapt them.

h [B, T, d]  ->  h + s z U^T  at the places of a NanoAdapter,  z = h D^T        D [r, d], U [d, r]
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from fedloom.core.errors import FedloomError

IGNORE = -100
"""What stands in ``Target.wanted`` where nothing is to be predicted."""

Where = Literal["image", "text"]
"""What a NanoAdapter adapts: what the connector makes of pictures, or the embeddings of words."""


@dataclass(frozen=True)
class Codes:
    """One NanoAdapter's part of a passage: ``scale z U^T``, added at ``places``.

    ``places`` ``[B, T]``; ``z`` ``[n, r]`` for the n places in the order of rows; ``up`` is U ``[d, r]``.
    """

    where: Where
    places: Tensor
    z: Tensor
    up: Tensor
    scale: float


@dataclass(frozen=True)
class Passage:
    """What the language model reads: B rows of embeddings, padded on the right.

    ``base`` ``[B, T, d]``: the embeddings before ``codes`` are added. ``mask`` ``[B, T]``: what is real. ``positions``
    ``[B, T]`` or ``[axes, B, T]`` where a model counts them in its own way. ``keys``: a name for each row's ``base``,
    the same whenever it is; empty where ``base`` itself learns.
    """

    base: Tensor
    mask: Tensor
    codes: tuple[Codes, ...] = ()
    positions: Tensor | None = None
    keys: tuple[str, ...] = ()

    def embeddings(self) -> Tensor:
        """``base`` with all codes added, ``[B, T, d]``."""
        made = self.base
        for part in self.codes:
            change = part.scale * (part.z @ part.up.T)
            made = made.index_put((part.places,), made[part.places] + change.to(made.dtype))
        return made

    def to(self, device: torch.device) -> "Passage":
        """The same on a device."""
        codes = tuple(
            replace(part, places=part.places.to(device), z=part.z.to(device), up=part.up.to(device))
            for part in self.codes
        )
        positions = None if self.positions is None else self.positions.to(device)
        return Passage(self.base.to(device), self.mask.to(device), codes, positions, self.keys)


@dataclass(frozen=True)
class Target:
    """What is to be predicted: the logits at the places ``keep`` ``[K]`` should name ``wanted`` ``[B, K]``, ``IGNORE``
    where nothing is asked. In each row they are consecutive, and end at its last real place."""

    keep: Tensor
    wanted: Tensor

    @classmethod
    def of(cls, lengths: Sequence[int], counts: Sequence[int], labels: Tensor | None) -> "Target":
        """The last ``counts`` places of rows of these ``lengths``, to name ``labels``, flat in the order of rows (0
        where they are not told)."""
        places = [range(length - count, length) for length, count in zip(lengths, counts, strict=True)]
        keep = sorted({place for row in places for place in row})
        column = {place: number for number, place in enumerate(keep)}
        told = torch.zeros(sum(counts), dtype=torch.long) if labels is None else labels.long()
        wanted = torch.full((len(lengths), len(keep)), IGNORE)
        for row, (where, mine) in enumerate(zip(places, torch.split(told, list(counts)), strict=True)):
            wanted[row, [column[place] for place in where]] = mine
        return cls(torch.tensor(keep), wanted)

    def to(self, device: torch.device) -> "Target":
        """The same on a device."""
        return Target(self.keep.to(device), self.wanted.to(device))

    def losses(self, logits: Tensor) -> Tensor:
        """Mean cross-entropy over what each row is to predict, ``[B]``, from logits ``[B, K, V]``."""
        every = torch.nn.functional.cross_entropy(
            logits.transpose(1, 2), self.wanted, reduction="none", ignore_index=IGNORE
        )
        return every.sum(dim=1) / (self.wanted != IGNORE).sum(dim=1)


@dataclass(frozen=True)
class Speech:
    """How an answer is worded: the id that ends it, and the NanoAdapter on the embeddings of words, where there is one:
    D, U and its scale."""

    end: int
    words: tuple[Tensor, Tensor, float] | None = None

    def embedded(self, embeddings: Tensor) -> Tensor:
        """Embeddings of words as the model reads them, ``[..., d]``."""
        if self.words is None:
            return embeddings
        down, up, scale = self.words
        change = scale * (embeddings.to(down.dtype) @ down.T @ up.T)
        return embeddings + change.to(embeddings.dtype)

    def to(self, device: torch.device) -> "Speech":
        """The same on a device."""
        if self.words is None:
            return self
        down, up, scale = self.words
        return Speech(self.end, (down.to(device), up.to(device), scale))


class NotFinite(FedloomError):
    """What the language model makes of a row of a passage are no finite numbers, so that no answer is the likeliest."""

    def __init__(self, row: int) -> None:
        super().__init__(f"the language model's scores of row {row} are not finite numbers. Lower client.lr.")
        self.row = row


class Middle(Protocol):
    """The language model as a client's training and answers use it, wherever it is."""

    def losses(self, passage: Passage, target: Target) -> Tensor:
        """Loss of each row, ``[B]``, to be differentiated by whatever in the passage learns."""

    def rank(self, passage: Passage, continuations: Sequence[tuple[int, Sequence[int]]], speech: Speech) -> list[float]:
        """Log-likelihood of each continuation (row of the passage, ids) and the end after it.

        Raises:
            NotFinite: a row has no such numbers.
        """

    def generate(self, passage: Passage, longest: int, speech: Speech) -> list[list[int]]:
        """The likeliest ids after each row, until the end or ``longest`` of them.

        Raises:
            NotFinite: a row has no likeliest one.
        """


class LanguageModel(Middle, Protocol):
    """A language model in this process. ``width``: d; ``vocabulary``: ids it knows; ``longest``: places it reads."""

    width: int
    vocabulary: int
    longest: int

    def logits(
        self, embeddings: Tensor, mask: Tensor, keep: Tensor, cache: Any = None, positions: Tensor | None = None
    ) -> Tensor:
        """Logits ``[B, len(keep), V]`` in float32; a ``cache`` grows."""

    def learning(self) -> list[str]:
        """Names of its parameters that can learn: none, where it is served."""
