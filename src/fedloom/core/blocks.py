"""Numbers by blocks: each block of a flat vector has a scale of its own, its largest magnitude."""

import torch
from torch import Tensor

LARGEST = 0x7F7F0000
"""The bits of the largest bfloat16, as float32."""


def block_scales(values: Tensor, block: int) -> Tensor:
    """Each block's largest magnitude, bfloat16 ``[blocks]``, rounded up: no entry is larger than its scale."""
    full = len(values) // block * block
    largest = [values[:full].view(-1, block).abs().amax(1)] if full else []
    if full < len(values):
        largest.append(values[full:].abs().amax(0, keepdim=True))
    if not largest:
        return torch.zeros(0, dtype=torch.bfloat16)
    bits = torch.cat(largest).view(torch.int32)
    return ((bits + 0xFFFF) & ~0xFFFF).clamp(max=LARGEST).view(torch.float32).bfloat16()


def divided(values: Tensor, scales: Tensor, block: int) -> Tensor:
    """Each entry as a share of its block's scale, from -1 to 1; a block of zeros stays so."""
    safe = torch.where(scales == 0, 1, scales).float()
    full = len(values) // block
    shares = torch.empty_like(values)
    torch.div(values[: full * block].view(-1, block), safe[:full, None], out=shares[: full * block].view(-1, block))
    if full * block < len(values):
        torch.div(values[full * block :], safe[-1], out=shares[full * block :])
    return shares


def multiplied(shares: Tensor, scales: Tensor, block: int) -> Tensor:
    """Undoes ``divided``, in place."""
    full, floats = len(shares) // block, scales.float()
    shares[: full * block].view(-1, block).mul_(floats[:full, None])
    if full * block < len(shares):
        shares[full * block :] *= floats[-1]
    return shares


def eight_bits(values: Tensor, block: int) -> tuple[Tensor, Tensor]:
    """A flat vector as whole numbers from -127 to 127 of its blocks' scales, int8, and the scales, bfloat16
    ``[blocks]``: symmetric, to the nearest. A number is at most scale / 254 off."""
    scales = block_scales(values, block)
    return divided(values, scales, block).mul_(127).round_().clamp_(-127, 127).to(torch.int8), scales


def from_eight_bits(codes: Tensor, scales: Tensor, block: int) -> Tensor:
    """Undoes ``eight_bits``, float32."""
    return multiplied(codes.float(), scales.float() / 127, block)
