"""Three levels a number."""

import torch

from fedloom.channel._blocks import codebook
from fedloom.channel._stage import Stage


def ternary(block: int = 64) -> Stage:
    """The nearest of -1, 0 and 1 times each block's largest magnitude (bfloat16, rounded up).

    What FedLPP (arXiv 2406.10976) calls one bit, as recalled from code that came after it; not confirmed. Three levels
    are log2 3 = 1.58 bits: five numbers share a byte, 1.6 bits each, and 2 bytes a block besides. A number is at most
    half of its block's largest magnitude off.

    Raises:
        FedloomError: block < 1.
    """
    return codebook("ternary", torch.tensor([-1.0, 0.0, 1.0]), block)
