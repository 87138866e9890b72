"""Matrices as the product of two thin ones."""

import torch
from torch import Tensor

from fedloom.channel._stage import Coded, Shapes, Stage, check_count, expect, length, pieces


def lowrank(rank: int = 2) -> Stage:
    """Each matrix of the change travels as the nearest product of two thin ones; all else as it is.

    ``M [m, n] ~ P [m, rank] Q [rank, n]``, ``P = U sqrt(S)``, ``Q = sqrt(S) V^T``, of the largest singular values: no
    other product of that rank is nearer (Eckart and Young 1936). It is what the power iteration of PowerSGD (Vogels et
    al. 2019, arXiv 1905.13727) tends to, found at once and in float64. Tensors that are no matrices, or whose factors
    would have no fewer entries (``rank (m + n) >= m n``), pass by. The square of a matrix's relative error is at most
    ``1 - rank / min(m, n)``.

    Raises:
        FedloomError: rank < 1.
    """
    check_count("lowrank: rank", rank)

    def thin(shape: tuple[int, ...]) -> bool:
        return len(shape) == 2 and rank * sum(shape) < shape[0] * shape[1]

    def factors(before: Shapes) -> Shapes:
        pairs = (((s[0], rank), (rank, s[1])) if thin(s) else (s,) for s in before)
        return tuple(shape for pair in pairs for shape in pair)

    def encode(values: Tensor, shapes: Shapes, seed: int) -> Coded:
        sent = [torch.zeros(0)]
        for piece, shape in zip(pieces(values, shapes), shapes, strict=True):
            if thin(shape):
                u, s, v = torch.linalg.svd(piece.reshape(shape).double(), full_matrices=False)
                root = s[:rank].sqrt()
                sent += [(u[:, :rank] * root).float().reshape(-1), (root[:, None] * v[:rank]).float().reshape(-1)]
            else:
                sent.append(piece)
        return Coded(torch.cat(sent))

    def decode(coded: Coded, shapes: Shapes) -> Tensor:
        inner = factors(shapes)
        values = expect(coded.values, torch.float32, length(inner), "the values of 'lowrank'")
        parts = iter(zip(pieces(values, inner), inner, strict=True))
        found = [torch.zeros(0)]
        for shape in shapes:
            piece, form = next(parts)
            if thin(shape):
                other, second = next(parts)
                piece = (piece.reshape(form) @ other.reshape(second)).reshape(-1)
            found.append(piece)
        return torch.cat(found)

    return Stage("rank", 1.0, encode, decode, factors, change=True)
