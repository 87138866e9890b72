"""Where an adapter starts: drawn at random, or from the largest singular directions of the weights beside it, or of the
first update that the clients would make to them.

kaiming   A drawn, B = 0                                     W0 + s B A = W0
svd       A = sqrt(S / s) V^T, B = U sqrt(S / s)             (W0 - s B A) + s B A = W0         with W0 ~ U S V^T
lora-sb   A = V^T, B = U, R = 0                              W0 + s B R A = W0
update    A = V^T, B = U, R = S / s   with dW ~ U S V^T      W0 + s B R A = W0 + dW, as far as its rank goes
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fedloom.core.errors import FedloomError
from fedloom.core.seeds import Seeds

EXACT = 1024
"""The smaller side of a weight up to which its whole SVD is computed; larger weights get a randomised one."""

_ITERATIONS, _SPARE = 10, 16  # of the randomised SVD: power iterations, directions beyond the rank


@dataclass(frozen=True)
class Start:
    """A ``[r, k]``, B ``[d, r]``, and R ``[r, r]`` where one stands between them. ``held``: whether the weight starts
    without s B A, so that weight and adapter together are W0."""

    a: Tensor
    b: Tensor
    r: Tensor | None = None
    held: bool = False


def kaiming(out_features: int, in_features: int, rank: int, stream: torch.Generator) -> Start:
    """A as PEFT draws it, uniform within 1 / sqrt(k), but from a named stream; B is zero."""
    bound = 1 / math.sqrt(in_features)
    a = torch.empty(rank, in_features).uniform_(-bound, bound, generator=stream)
    return Start(a, torch.zeros(out_features, rank))


def pissa(weight: Tensor, rank: int, scale: float, seeds: Seeds, module: str) -> Start:
    """The pair whose scaled product is the best approximation of ``weight`` of this rank.

    PiSSA, Meng et al. 2024 (arXiv 2404.02948): ``W0 - s B0 A0`` is frozen and ``B0 = U_r sqrt(S_r / s)``, ``A0 =
    sqrt(S_r / s) V_r^T`` learn; the form with s is that of FRLoRA's code (ICLR 2025).

    Raises:
        FedloomError: as ``directions``.
    """
    u, s, vt = directions(weight, rank, seeds, module)
    root = (s / scale).sqrt()
    return Start((root[:, None] * vt).float(), (u * root).float(), held=True)


def between(weight: Tensor, rank: int, seeds: Seeds, module: str) -> Start:
    """Orthonormal A and B along the largest singular directions of ``weight``, and R = 0 between them.

    The form B R A is LoRA-SB's and Fed-SB's, whose directions are those of an update (``of_update``); directions of the
    weight are LoRA-XS's (arXiv 2405.17604; as recalled, that paper scales one side by the singular values).

    Raises:
        FedloomError: as ``directions``.
    """
    u, _, vt = directions(weight, rank, seeds, module)
    return Start(vt.float(), u.float(), torch.zeros(rank, rank))


def of_update(update: Tensor, rank: int, scale: float, seeds: Seeds, module: str) -> Start:
    """Orthonormal A and B along the largest singular directions of an update ``[d, k]``, and R that takes its step.

    LoRA-SB (arXiv 2411.19557), Fed-SB (arXiv 2502.15436): with ``dW = -eta sign(sum of gradients)``, the first step of
    full fine-tuning, B = U_r, A = V_r^T and R = S_r / s, so that s B R A is the best approximation of dW of this rank.
    (The released code has s = 1 and so R = S_r.) Unlike the other starts it is not zero in effect.

    Raises:
        FedloomError: as ``directions``.
    """
    u, s, vt = directions(update, rank, seeds, module)
    return Start(vt.float(), u.float(), torch.diag(s / scale).float())


def unknown(out_features: int, in_features: int, rank: int, stream: torch.Generator, module: str) -> Start:
    """What stands there until the update is known: R = 0, so that the model is as it was.

    Raises:
        FedloomError: the update will have fewer than ``rank`` singular values.
    """
    _check_rank(out_features, in_features, rank, module)
    return replace(kaiming(out_features, in_features, rank, stream), r=torch.zeros(rank, rank))


def _check_rank(d: int, k: int, rank: int, module: str) -> None:
    if rank > min(d, k):
        raise FedloomError(
            f"adapter.init = 'svd' or 'update': rank {rank} is more than the {min(d, k)} singular values of "
            f"{module!r}, a weight [{d}, {k}]. Lower adapter.rank, or leave that layer out of adapter.modules."
        )


def directions(weight: Tensor, rank: int, seeds: Seeds, module: str) -> tuple[Tensor, Tensor, Tensor]:
    """The ``rank`` largest singular triples of a weight ``[d, k]`` in float64 on the CPU: U ``[d, r]``, S ``[r]``,
    V^T ``[r, k]``.

    Each row of V^T has its largest entry positive. Where both sides are larger than ``EXACT``, the triples are those of
    a randomised SVD (Halko et al. 2011, arXiv 0909.4061), drawn from a stream named by ``module``: orthonormal all the
    same, and near the true ones. A weight without memory (torch's ``meta`` device) has empty triples of these shapes.

    Raises:
        FedloomError: the weight has fewer than ``rank`` singular values.
    """
    d, k = weight.shape
    _check_rank(d, k, rank, module)
    if weight.is_meta:
        return torch.empty(d, rank), torch.empty(rank), torch.empty(rank, k)
    matrix = weight.detach().to("cpu", torch.float64)
    if min(d, k) <= EXACT:
        u, s, vt = torch.linalg.svd(matrix, full_matrices=False)
    else:
        with torch.random.fork_rng(devices=[]):  # torch.svd_lowrank takes no generator
            torch.manual_seed(seeds.number(f"adapter/svd/{module}"))
            u, s, v = torch.svd_lowrank(matrix, q=min(rank + _SPARE, d, k), niter=_ITERATIONS)
        vt = v.T
    u, s, vt = u[:, :rank], s[:rank], vt[:rank]
    signs = vt.gather(1, vt.abs().argmax(dim=1, keepdim=True)).sign()
    return u * signs.T, s, signs * vt
