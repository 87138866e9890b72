"""Averaged factors, with B corrected so that their product comes near the mean of the products."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from fedloom.core import lora
from fedloom.core.contracts import Method, Parcel, Server, State, Tree
from fedloom.core.errors import FedloomError
from fedloom.methods._common import number, only_pairs, send_adapter, stacked

Similarity = Literal["cosine", "columns", "frobenius"]
Norm = Literal["plain", "squared"]

EPS = 1e-8
"""A product, or a column of one, that is no longer than this has no direction to turn."""


def lora_fair(
    similarity: Similarity = "cosine",
    penalty: float = 0.01,
    lr: float = 0.01,
    steps: int = 1000,
    norm: Norm = "plain",
) -> Method:
    """mean(A) and mean(B) + D, where D brings their product near the mean of the clients' products.

    LoRA-FAIR, Bian et al. 2024 (arXiv 2411.14961), eq. (8), module by module, with ``dW = sum_k p_k B_k A_k``, p_k
    shares of the training examples and ``M = (mean(B) + D) mean(A)``::

        cosine       D = argmin  1 - <dW, M> / (||dW||_F ||M||_F) + penalty ||D||_F
        columns      D = argmin  1 - mean_j cos(dW_j, M_j) + penalty ||D||_F               j: columns
        frobenius    D = argmin  ||dW - M||_F^2 + penalty ||D||_F^2

    Notes on the paper give eq. (8) as the cosine similarity plus ``penalty ||D||``, not squared, with penalty 0.01 and
    plain gradient descent; whether the cosine is that of the whole matrix they do not say. Of five released codes, four
    flatten the matrix (``cosine``), one takes the mean over columns (``columns``). ``norm = "squared"`` has
    ``||D||_F^2`` in either. ``steps`` and ``lr`` are not confirmed; D = 0 at first is ours. The plain norm pulls with
    the same force however small D is: where the cosine's gradient at D = 0 is no longer than ``penalty``, D = 0 is the
    minimum and is taken as it is. A cosine sees directions alone, and its gradient grows as 1 / ||B||: with entries of
    B near 1e-3 in small layers, descent can overshoot to a B several times as large, by columns sooner than flattened.
    A step costs some r R k multiplications, with R the sum of the clients' ranks.

    ``frobenius`` is ours, not the paper's: ridge regression in closed form, whose norm is always squared, and which
    never ends farther from dW than mean(B) mean(A). None makes a matrix larger than the stacked pairs. Other tensors
    are averaged plainly.

    Raises:
        FedloomError: an unknown similarity or norm, penalty < 0, lr <= 0, or steps < 1.
    """
    if similarity not in ("cosine", "columns", "frobenius"):
        raise FedloomError(f"lora-fair: similarity is {similarity!r}, expected cosine, columns or frobenius.")
    if norm not in ("plain", "squared"):
        raise FedloomError(f"lora-fair: norm is {norm!r}, expected plain or squared.")
    descent = Descent(similarity == "cosine", norm == "squared", penalty, lr, steps)
    number("lora-fair: penalty", penalty, least=0.0)
    number("lora-fair: lr", lr, above=0.0)
    number("lora-fair: steps", steps, least=1)

    def init(adapter: Tree, scale: float, clients: int) -> State:
        only_pairs("lora-fair", adapter)
        return {"adapter": adapter}

    def step(state: State, total: Parcel) -> State:
        adapter = state["adapter"] | total.trees["adapter"]
        means = lora.pairs(total.trees["adapter"])
        for module, stack in lora.pairs(total.trees["stack"]).items():
            a, b = (half.double() for half in means[module])
            stack_a, stack_b = (half.double() for half in stack)
            if similarity == "frobenius":
                change = _ridge(stack_a, stack_b, a, b, penalty)
            else:
                change = _descend(stack_a, stack_b, a, b, descent)
            adapter[module + lora.B] = (b + change).to(means[module][1].dtype)
        return {"adapter": adapter}

    return Method(stacked(halves=True), Server(init, step, send_adapter), needs="products")


def _ridge(stack_a: Tensor, stack_b: Tensor, a: Tensor, b: Tensor, penalty: float) -> Tensor:
    """``D = (dW - B A) A^T (A A^T + penalty I)^-1`` ``[d, r]``, with dW the product of the stack."""
    gram = a @ a.T
    missed = stack_b @ (stack_a @ a.T) - b @ gram
    inverse: Tensor = torch.linalg.pinv(gram + penalty * torch.eye(len(gram), dtype=gram.dtype), hermitian=True)
    return missed @ inverse


@dataclass(frozen=True)
class Descent:
    """How the cosine is climbed. ``whole``: that of the whole matrix, else the mean of its columns'. ``squared``: the
    penalty is on the square of the norm."""

    whole: bool
    squared: bool
    penalty: float
    lr: float
    steps: int


def _descend(stack_a: Tensor, stack_b: Tensor, a: Tensor, b: Tensor, how: Descent) -> Tensor:
    """D ``[d, r]`` after gradient descent on a cosine.

    All gradients lie in the column space of the stacked B, which holds mean(B): descent there, in an orthonormal basis
    Q of it, takes the same steps with fewer rows. With v the product (or a column of it), u that of dW at length 1 and
    c = u^T v / ||v||, the gradient of c by v is ``(u - c v / ||v||) / ||v||``.
    """
    axes, count = ((0, 1), 1) if how.whole else ((0,), a.shape[1])
    basis, upper = torch.linalg.qr(stack_b)
    aim = upper @ stack_a
    aim = aim / torch.linalg.vector_norm(aim, dim=axes, keepdim=True).clamp_min(EPS)
    begin = basis.T @ b

    def gradient(change: Tensor) -> Tensor:
        product = (begin + change) @ a
        length = torch.linalg.vector_norm(product, dim=axes, keepdim=True)
        inverse = torch.where(length > EPS, 1 / length.clamp_min(EPS), 0.0)
        unit = product * inverse
        turn = (aim - (aim * unit).sum(dim=axes, keepdim=True) * unit) * inverse
        found: Tensor = turn @ a.T / count
        return found

    change = torch.zeros_like(begin)
    still = not how.squared and bool(gradient(change).norm() <= how.penalty)
    for _ in range(0 if still else how.steps):
        moved = change.norm()
        pull = 2 * change if how.squared else change / moved if moved > 0 else change
        change = change - how.lr * (how.penalty * pull - gradient(change))
    result: Tensor = basis @ change
    return result
