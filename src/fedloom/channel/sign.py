"""One bit a number."""

import torch
from torch import Tensor

from fedloom.channel._blocks import Codebook
from fedloom.channel._stage import Coded, Shapes, Stage, expect, length, pieces

SIGNS = Codebook(torch.tensor([-1.0, 1.0]))


def sign() -> Stage:
    """One bit a number: its sign, times the mean magnitude of its tensor. Made for error feedback.

    Karimireddy et al. 2019 (arXiv 1901.09847), Algorithm 1: ``C(p) = (||p||_1 / d) sign(p)``, here for each tensor of d
    entries. The sign of zero is plus. Eight numbers a byte, and a float32 scale a tensor. The square of a tensor's
    relative error is ``1 - ||p||_1^2 / (d ||p||^2)``: below 1, but with one large entry by no more than 1 / d.
    """

    def encode(values: Tensor, shapes: Shapes, seed: int) -> Coded:
        means = [_mean(piece.abs()) for piece in pieces(values, shapes)]
        bits = torch.where(values < 0, -1.0, 1.0)
        return Coded(SIGNS.pack(bits), {"scales": torch.stack(means) if means else torch.zeros(0)})

    def decode(coded: Coded, shapes: Shapes) -> Tensor:
        scales = expect(coded.parts.get("scales"), torch.float32, len(shapes), "the scales of 'sign'")
        values = SIGNS.unpack(coded.values, length(shapes), "the values of 'sign'")
        for piece, scale in zip(pieces(values, shapes), scales, strict=True):
            piece *= scale
        return values

    return Stage("format", 1.0, encode, decode, change=True)


def _mean(magnitudes: Tensor) -> Tensor:
    """The mean, also where the sum is beyond float32; 0 of nothing."""
    if not len(magnitudes):
        return torch.zeros(())
    mean = magnitudes.mean()
    return mean if mean.isfinite() else magnitudes.double().mean().float()
