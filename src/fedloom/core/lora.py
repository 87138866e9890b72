"""LoRA pairs in a tree: ``<module>.lora_A.weight`` is A ``[r, k]``, ``<module>.lora_B.weight`` is B ``[d, r]``.

A mean of products is not the product of means, so methods that average products work on *stacked* pairs, which hold
a weighted sum of products exactly::

    sum_i p_i B_i A_i  =  [B_1 ... B_n] [p_1 A_1; ...; p_n A_n]

Where a module also has ``<module>.lora_R.weight``, R ``[r, r]`` stands between the two: what counts is B R A.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from fedloom.core.contracts import Tree
from fedloom.core.errors import FedloomError

A, B, R = ".lora_A.weight", ".lora_B.weight", ".lora_R.weight"

Pair = tuple[Tensor, Tensor]
"""A ``[r, k]`` and B ``[d, r]`` of one module; what it adds to the weight is proportional to B A ``[d, k]``."""


def is_pair(name: str) -> bool:
    """Whether a tensor of this name is half of a LoRA pair."""
    return name.endswith((A, B))


def pairs(tree: Tree) -> dict[str, Pair]:
    """The LoRA pairs of a tree, by module, in the order of the names.

    Raises:
        FedloomError: a half without its other half, or two that do not fit.
    """
    found: dict[str, Pair] = {}
    for module in sorted({name.removesuffix(A).removesuffix(B) for name in tree if is_pair(name)}):
        for half in (A, B):
            if module + half not in tree:
                raise FedloomError(f"Adapter: {module + half!r} is missing, but its other half is there.")
        a, b = tree[module + A], tree[module + B]
        if a.ndim != 2 or b.ndim != 2 or a.shape[0] != b.shape[1]:
            raise FedloomError(
                f"Adapter: {module!r} has A {list(a.shape)} and B {list(b.shape)}; expected A [r, k] and B [d, r]."
            )
        found[module] = a, b
    return found


def tree(by_module: Mapping[str, Pair]) -> Tree:
    """Pairs back under PEFT's names; the inverse of ``pairs``."""
    return {name: half for module, (a, b) in by_module.items() for name, half in ((module + A, a), (module + B, b))}


def stack(parts: Sequence[tuple[float, Tensor, Tensor]]) -> Pair:
    """One pair whose product is ``sum_i p_i B_i A_i``, from ``(p_i, A_i, B_i)`` of any ranks r_i.

    Returns:
        ``[p_1 A_1; ...; p_n A_n]`` of shape ``[sum r_i, k]`` and ``[B_1 ... B_n]`` of shape ``[d, sum r_i]``.
    """
    return torch.cat([a * p for p, a, _ in parts]), torch.cat([b for _, _, b in parts], dim=1)


def product_svd(a: Tensor, b: Tensor, rank: int) -> Pair:
    """The best factors of at most ``rank`` for the product B A (Eckart-Young), singular values descending.

    With B A = U S V^T, returns ``sqrt(S) V^T`` and ``U sqrt(S)``. Zero singular values are left out, so the rank may be
    lower than asked. Each row of the first factor has its largest entry positive, which makes the factors unique where
    the singular values differ. For A ``[R, k]`` and B ``[d, R]`` with R below min(d, k), no matrix larger than those is
    made: B = Q_b R_b and A^T = Q_a R_a, and the SVD is that of ``R_b R_a^T`` ``[R, R]``.
    """
    a64, b64 = a.double(), b.double()
    if a.shape[0] < min(a.shape[1], b.shape[0]):
        q_b, r_b = torch.linalg.qr(b64)
        q_a, r_a = torch.linalg.qr(a64.T)
        u, s, vt = torch.linalg.svd(r_b @ r_a.T)
    else:
        q_b = q_a = None
        u, s, vt = torch.linalg.svd(b64 @ a64, full_matrices=False)
    tiny = s.max() * max(a.shape[1], b.shape[0]) * torch.finfo(torch.float64).eps if s.numel() else 0.0
    keep = min(rank, int((s > tiny).sum()))
    u, s, vt = u[:, :keep], s[:keep].sqrt(), vt[:keep]
    if q_b is not None and q_a is not None:  # products in the layout of the longer factor, which is far faster
        u, vt = (u.T @ q_b.T).T, vt @ q_a.T
    signs = vt.gather(1, vt.abs().argmax(dim=1, keepdim=True)).sign()
    return (signs * s[:, None] * vt).to(a.dtype), (u * s * signs.T).to(b.dtype)


def compress(a: Tensor, b: Tensor) -> Pair:
    """A pair with the same product and a rank of at most min(d, k): unchanged where it has no more already."""
    full = min(a.shape[1], b.shape[0])
    return (a, b) if a.shape[0] <= full else product_svd(a, b, full)


def squared_norm(a: Tensor, b: Tensor) -> float:
    """``||B A||_F^2`` as the sum of the entries of ``(B^T B) * (A A^T)`` ``[r, r]``; B A itself is not made."""
    a64, b64 = a.double(), b.double()
    return max(0.0, float(((b64.T @ b64) * (a64 @ a64.T)).sum()))


def pad(adapter: Tree, rank: int) -> Tree:
    """The adapter with every pair filled up to ``rank`` components with zeros; other tensors as they are."""
    padded = dict(adapter)
    for module, (a, b) in pairs(adapter).items():
        missing = rank - a.shape[0]
        if missing > 0:
            padded[module + A] = torch.cat([a, a.new_zeros(missing, a.shape[1])])
            padded[module + B] = torch.cat([b, b.new_zeros(b.shape[0], missing)], dim=1)
    return padded


def level(left: Tree, right: Tree) -> tuple[Tree, Tree]:
    """Two trees with the halves of their pairs filled up with zeros to the larger rank of the two.

    A half may be there without the other. Tensors that are no halves of pairs, or that one tree alone has, stay.
    """
    filled = dict(left), dict(right)
    for name in left.keys() & right.keys():
        axis = {A: 0, B: 1}.get(next((half for half in (A, B) if name.endswith(half)), ""))
        if axis is None:
            continue
        rank = max(left[name].shape[axis], right[name].shape[axis])
        for one in filled:
            missing = rank - one[name].shape[axis]
            if missing:
                shape = [*one[name].shape]
                shape[axis] = missing
                one[name] = torch.cat([one[name], one[name].new_zeros(shape)], dim=axis)
    return filled


def over(adapter: Tree, mean: Tree) -> Tree:
    """The mean in the adapter's type; where it has fewer components, the adapter's own come after them."""
    before, filled = pairs(adapter), dict(mean)
    for module, (a, b) in pairs(mean).items():
        old_a, old_b = before[module]
        rank = a.shape[0]
        whole_a = torch.cat([a.to(old_a.dtype), old_a[rank:]])
        whole_b = torch.cat([b.to(old_b.dtype), old_b[:, rank:]], dim=1)
        filled |= tree({module: (whole_a, whole_b)})
    return filled


def truncate(adapter: Tree, rank: int) -> Tree:
    """The adapter with the first ``rank`` components of every pair; other tensors as they are.

    Raises:
        FedloomError: a pair has fewer components than that.
    """
    cut = dict(adapter)
    for module, (a, b) in pairs(adapter).items():
        if not 1 <= rank <= a.shape[0]:
            raise FedloomError(
                f"Adapter: {module!r} has rank {a.shape[0]}, a client asks for rank {rank}. Client ranks must be "
                "between 1 and adapter.rank; set adapter.rank to the largest of them."
            )
        cut[module + A], cut[module + B] = a[:rank], b[:, :rank]
    return cut
