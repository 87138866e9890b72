"""Half precision on the wire."""

import math

import torch
from torch import Tensor

from fedloom.channel._stage import Coded, Shapes, Stage, expect, length


def fp16() -> Stage:
    """IEEE half precision: 2 bytes a number, and one scale, a power of two that brings the largest near 1.

    Relative error of a number at most 2^-11 down to 2^-14 of the largest, and 2^-25 of the largest below that.
    """

    def encode(values: Tensor, shapes: Shapes, seed: int) -> Coded:
        largest = float(values.abs().max()) if values.numel() else 0.0
        scale = 2.0 ** min(math.frexp(largest)[1], 126)
        return Coded((values / scale).half(), {"scale": torch.tensor([scale])})

    def decode(coded: Coded, shapes: Shapes) -> Tensor:
        scale = expect(coded.parts.get("scale"), torch.float32, 1, "the scale of 'fp16'")
        return expect(coded.values, torch.float16, length(shapes), "the values of 'fp16'").float() * scale

    return Stage("format", 2**-10, encode, decode)
