"""Block-wise numbers of few bits: a scale a block, and for each entry the nearest of a few levels."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from fedloom.channel._stage import Coded, Shapes, Stage, check_count, expect, length
from fedloom.core.blocks import block_scales, divided, multiplied


@dataclass(frozen=True)
class Codebook:
    """2 to 16 levels within -1 and 1, ascending. As many codes as fit share a word of 8 bits: code 0 of the word is its
    digit of lowest value in the base of the number of levels. Eight levels share words of 12 bits, two in 3 bytes."""

    levels: Tensor

    @property
    def base(self) -> int:
        """How many levels there are."""
        return len(self.levels)

    @property
    def word(self) -> int:
        """Bits of a word."""
        return 12 if self.base == 8 else 8

    @property
    def digits(self) -> int:
        """Codes that share a word: 8, 5, 4, 4 (of 12 bits) or 2."""
        return int(self.word / math.log2(self.base) + 1e-9)

    @property
    def widest(self) -> float:
        """How far from its level a number from -1 to 1 can be: half of the widest gap, or all beyond an end."""
        return max(float(self.levels.diff().max()) / 2, float(self.levels[0]) + 1, 1 - float(self.levels[-1]))

    def nbytes(self, entries: int) -> int:
        """Bytes of that many codes."""
        words = -(-entries // self.digits)
        return words if self.word == 8 else 3 * -(-words // 2)

    def pack(self, values: Tensor) -> Tensor:
        """The codes of the levels nearest to ``values`` (from -1 to 1, flat), uint8."""
        entries = self.nbytes(len(values)) * 8 // self.word * self.digits
        codes = torch.zeros(entries, dtype=torch.uint8)
        used = codes[: len(values)]
        for middle in (self.levels[1:] + self.levels[:-1]) / 2:
            used += values > middle
        digits = codes.view(-1, self.digits)
        words = digits[:, 0].to(torch.int16)
        for place in range(1, self.digits):
            words += digits[:, place].to(torch.int16) * self.base**place
        if self.word == 8:
            return words.to(torch.uint8)
        low, high = words.view(-1, 2).unbind(1)
        return torch.stack([low & 255, (low >> 8) | ((high & 15) << 4), high >> 4], 1).reshape(-1).to(torch.uint8)

    def unpack(self, packed: Tensor | None, entries: int, what: str) -> Tensor:
        """The levels that ``packed`` names, float32 ``[entries]``; a word that ``pack`` never makes stands for zeros.

        Raises:
            FedloomError: it is not the bytes of that many codes; ``what`` names it.
        """
        words = expect(packed, torch.uint8, self.nbytes(entries), what).numpy()
        if self.word == 12:
            first, second, third = words.reshape(-1, 3).astype(np.int16).T
            words = np.stack([first | ((second & 15) << 8), (second >> 4) | (third << 4)], 1).reshape(-1)
        return torch.from_numpy(self._table.take(words, axis=0).reshape(-1))[:entries]

    @cached_property
    def _table(self) -> np.ndarray:
        """The levels of every word ``[words, digits]``."""
        words = np.arange(self.base**self.digits)
        table = np.zeros((2**self.word, self.digits), dtype=np.float32)
        for place in range(self.digits):
            table[words, place] = self.levels.numpy()[words // self.base**place % self.base]
        return table


def codebook(name: str, levels: Tensor, block: int) -> Stage:
    """The number format that sends the level nearest to each entry, as a share of its block's largest magnitude.

    ``levels`` hold 0. Parts: ``scales``, bfloat16 ``[blocks]``.
    """
    check_count(f"{name}: block", block)
    book = Codebook(levels)

    def encode(values: Tensor, shapes: Shapes, seed: int) -> Coded:
        scales = block_scales(values, block)
        return Coded(book.pack(divided(values, scales, block)), {"scales": scales})

    def decode(coded: Coded, shapes: Shapes) -> Tensor:
        entries = length(shapes)
        scales = expect(coded.parts.get("scales"), torch.bfloat16, -(-entries // block), f"the scales of {name!r}")
        return multiplied(book.unpack(coded.values, entries, f"the values of {name!r}"), scales, block)

    return Stage("format", worst(book.widest, block), encode, decode)


def worst(gap: float, block: int) -> float:
    """The relative error that no vector exceeds where an entry is at most ``gap`` (a share of its block's scale) off.

    Where a level is missing for the largest entry itself (``gap`` is 1), the whole vector may be lost.

    A smaller entry is no further off than it is large (zero is a level), and a larger one adds to the norm alone: so
    the worst block has entries as large as ``gap``, and one that is its largest. That one is off by what the scale was
    rounded up, at most 2^-7.
    """
    if gap >= 1:
        return 1.0
    others = (block - 1) * (gap * (1 + 2**-7)) ** 2
    return math.sqrt((others + 2**-14) / (others + 1))
