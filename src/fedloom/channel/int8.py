"""Eight-bit whole numbers on the wire."""

import torch
from torch import Tensor

from fedloom.channel._blocks import worst
from fedloom.channel._stage import Coded, Shapes, Stage, check_count, expect, length
from fedloom.core.blocks import eight_bits, from_eight_bits


def int8(block: int = 256) -> Stage:
    """Block-wise 8 bits a number: each block's largest magnitude is 127, the rest is rounded to whole numbers.

    Symmetric, nearest. 1 byte a number and 2 a block: its largest magnitude s in bfloat16, rounded up so that no code
    leaves -127 to 127. A number is at most s / 254 off.

    Raises:
        FedloomError: block < 1.
    """
    check_count("int8: block", block)

    def encode(values: Tensor, shapes: Shapes, seed: int) -> Coded:
        codes, scales = eight_bits(values, block)
        return Coded(codes, {"scales": scales})

    def decode(coded: Coded, shapes: Shapes) -> Tensor:
        entries = length(shapes)
        codes = expect(coded.values, torch.int8, entries, "the values of 'int8'")
        scales = expect(coded.parts.get("scales"), torch.bfloat16, -(-entries // block), "the scales of 'int8'")
        return from_eight_bits(codes, scales, block)

    return Stage("format", worst(1 / 254, block), encode, decode)
