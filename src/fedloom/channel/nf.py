"""NormalFloat: few bits a number, spaced as normally distributed numbers are."""

import torch
from torch import Tensor

from fedloom.channel._blocks import codebook
from fedloom.channel._stage import Stage
from fedloom.core.errors import FedloomError

OFFSET = 0.9677083
"""The probability whose quantile is the outermost level, the same for every number of bits."""


def nf(bits: int = 4, block: int = 64) -> Stage:
    """NormalFloat, 1 to 4 bits: in each block the nearest of 2^bits quantiles of the normal distribution, scaled.

    Dettmers et al. 2023 (QLoRA, arXiv 2305.14314): ``2^(bits-1)`` positive and ``2^(bits-1) - 1`` negative quantiles
    from probability ``OFFSET`` to 1/2, and zero, divided by the largest, times each block's largest magnitude
    (bfloat16, rounded up). Four bits as in the authors' code, fewer as in LoftQ's; the scales are not quantised again.
    At one bit that is one positive quantile, no negative one, and zero: the levels 0 and 1, so whatever is negative
    becomes zero. For three levels, -1, 0 and 1, take ``ternary``; for the sign alone, ``sign``. One bit: eight numbers
    a byte; two: four; three: eight in 3 bytes; four: two a byte; all with 2 bytes a block besides.

    Raises:
        FedloomError: bits other than 1, 2, 3, 4, or block < 1.
    """
    if bits not in (1, 2, 3, 4):
        raise FedloomError(f"nf: bits is {bits}, but there are 1, 2, 3 and 4. For 8 bits, use 'int8'.")
    return codebook("nf", levels(bits), block)


def levels(bits: int) -> Tensor:
    """The levels from -1 to 1, ascending, float32."""
    half = 2 ** (bits - 1)
    above, below = (_quantiles(count) for count in (half, half - 1))
    return (torch.cat([-below, torch.zeros(1), above.flip(0)]) / above.max()).float()


def _quantiles(count: int) -> Tensor:
    """That many positive quantiles of the normal distribution, falling from that of ``OFFSET``."""
    found: Tensor = torch.special.ndtri(torch.linspace(OFFSET, 0.5, count + 1, dtype=torch.float64)[:-1])
    return found
