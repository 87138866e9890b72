"""Brain floating point on the wire."""

import torch
from torch import Tensor

from fedloom.channel._stage import Coded, Shapes, Stage, expect, length


def bf16() -> Stage:
    """bfloat16: 2 bytes a number, relative error at most 2^-8, the whole range of float32.

    What would round to infinity, beyond 3.39e38, is the largest number that there is.
    """
    largest = torch.finfo(torch.bfloat16).max

    def encode(values: Tensor, shapes: Shapes, seed: int) -> Coded:
        return Coded(values.clamp(-largest, largest).bfloat16())

    def decode(coded: Coded, shapes: Shapes) -> Tensor:
        return expect(coded.values, torch.bfloat16, length(shapes), "the values of 'bf16'").float()

    return Stage("format", 2**-8, encode, decode)
