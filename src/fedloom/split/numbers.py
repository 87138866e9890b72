"""In which numbers activations and their gradients travel: float32, bfloat16, or eight bits by blocks."""

import math
from typing import Literal

import torch
from torch import Tensor

from fedloom.core import blocks
from fedloom.core.contracts import Tree
from fedloom.split.errors import Refused

Numbers = Literal["fp32", "bf16", "int8"]

BLOCK = 64
"""Numbers that share a scale, kind ``int8``: a number is off by at most 1/254 of the largest of its block."""

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def put(name: str, value: Tensor, numbers: Numbers) -> Tree:
    """``value`` as it travels, on the CPU: one tensor, or codes and the scales of their blocks.

    Raises:
        Refused: it holds NaN or infinity.
    """
    value = value.detach().to("cpu", torch.float32).contiguous()
    if value.numel() and not all(math.isfinite(end.item()) for end in value.aminmax()):
        raise Refused(f"split: {name} holds NaN or infinity. Lower client.lr.")
    if numbers == "int8":
        codes, scales = blocks.eight_bits(value.reshape(-1), BLOCK)
        return {name: codes.reshape(value.shape), f"{name}.scales": scales}
    return {name: value.to(_DTYPES[numbers])}


def take(tree: Tree, name: str, shape: tuple[int, ...]) -> Tensor:
    """What ``put`` was given, float32, whichever numbers it came in; finite, as everything that was unpacked.

    Raises:
        Refused: it is missing, or of another shape or type.
    """
    value = tree.get(name)
    if value is None:
        raise Refused(f"split: {name} is missing; there are {sorted(tree) or 'no tensors'}.")
    if tuple(value.shape) != shape:
        raise Refused(f"split: {name} is {list(value.shape)}, expected {list(shape)}.")
    if value.dtype in (torch.float32, torch.bfloat16):
        return value.float()
    scales = tree.get(f"{name}.scales")
    blocks_ = -(-value.numel() // BLOCK)
    if value.dtype != torch.int8 or scales is None or (scales.dtype, scales.shape) != (torch.bfloat16, (blocks_,)):
        raise Refused(f"split: {name} is {value.dtype}, expected float32, bfloat16, or int8 with its blocks' scales.")
    return blocks.from_eight_bits(value.reshape(-1), scales, BLOCK).reshape(shape)
