"""Half precision on the wire."""

import torch

from fedloom.channel._formats import short
from fedloom.channel._stage import Stage


def fp16() -> Stage:
    """IEEE half precision: 2 bytes a number, relative error at most 2^-11 (from 6.1e-5 to 65504 in magnitude; below
    that the absolute error is at most 2^-25)."""
    return short("fp16", torch.float16, error=2**-11)
