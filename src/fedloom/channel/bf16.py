"""Brain floating point on the wire."""

import torch

from fedloom.channel._formats import short
from fedloom.channel._stage import Stage


def bf16() -> Stage:
    """bfloat16: 2 bytes a number, relative error at most 2^-8, the whole range of float32."""
    return short("bf16", torch.bfloat16, error=2**-8)
