"""Four-bit whole numbers on the wire."""

import torch

from fedloom.channel._blocks import codebook
from fedloom.channel._stage import Stage


def int4(block: int = 64) -> Stage:
    """Block-wise 4 bits a number: each block's largest magnitude is 7, the rest is rounded to whole numbers.

    Symmetric, nearest. Two numbers from -7 to 7 share a byte; 2 bytes a block for its largest magnitude s in bfloat16,
    rounded up. A number is at most s / 14 off.

    Raises:
        FedloomError: block < 1.
    """
    return codebook("int4", torch.arange(-7, 8) / 7, block)
