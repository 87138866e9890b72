"""Brain floating point on the wire."""

import torch
from torch import Tensor

from fedloom.channel._stage import Coded, Shapes, Stage, expect, length


def bf16() -> Stage:
    """bfloat16: 2 bytes a number, relative error at most 2^-8, the whole range of float32."""

    def encode(values: Tensor, shapes: Shapes, seed: int) -> Coded:
        return Coded(values.bfloat16())

    def decode(coded: Coded, shapes: Shapes) -> Tensor:
        return expect(coded.values, torch.bfloat16, length(shapes), "the values of 'bf16'").float()

    return Stage("format", 2**-8, encode, decode)
