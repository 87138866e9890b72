"""Averaged factors, with B corrected so that their product comes near the mean of the products."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from fedloom.core import lora
from fedloom.core.contracts import Method, Parcel, Server, State, Tree
from fedloom.core.errors import FedloomError
from fedloom.methods._common import number, only_pairs, send_adapter, stacked

Similarity = Literal["cosine", "frobenius"]

EPS = 1e-8
"""A column of the product that is no longer than this has no direction to turn."""


def lora_fair(similarity: Similarity = "cosine", penalty: float = 0.01, lr: float = 0.01, steps: int = 1000) -> Method:
    """mean(A) and mean(B) + D, where D brings their product near the mean of the clients' products.

    LoRA-FAIR, Bian et al. 2024 (arXiv 2411.14961), eq. (8), module by module, with ``dW = sum_k p_k B_k A_k`` and p_k
    shares of the training examples::

        cosine       D = argmin  1 - mean_j cos(dW_j, ((mean(B) + D) mean(A))_j) + penalty ||D||_F^2      j: columns
        frobenius    D = argmin  ||dW - (mean(B) + D) mean(A)||_F^2 + penalty ||D||_F^2

    ``cosine`` is the paper's, with its penalty; not confirmed, but as other people's code of it has them: the mean over
    columns, the square of the norm, and ``steps`` of plain gradient descent at ``lr``; D = 0 at first is ours. It sees
    directions alone, and its gradient grows as 1 / ||B||: with entries of B near 1e-3 in small layers, descent can
    overshoot to a B several times as large. A step costs some r R k multiplications, with R the sum of the clients'
    ranks.
    ``frobenius`` is ours, not the paper's: ridge regression in closed form, at once, which never ends farther from dW
    than mean(B) mean(A). Neither makes a matrix larger than the stacked pairs. Other tensors are averaged plainly.

    Raises:
        FedloomError: an unknown similarity, penalty < 0, lr <= 0, or steps < 1.
    """
    if similarity not in ("cosine", "frobenius"):
        raise FedloomError(f"lora-fair: similarity is {similarity!r}, expected cosine or frobenius.")
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
                change = _descend(stack_a, stack_b, a, b, penalty, lr, steps)
            adapter[module + lora.B] = (b + change).to(means[module][1].dtype)
        return {"adapter": adapter}

    return Method(stacked(halves=True), Server(init, step, send_adapter))


def _ridge(stack_a: Tensor, stack_b: Tensor, a: Tensor, b: Tensor, penalty: float) -> Tensor:
    """``D = (dW - B A) A^T (A A^T + penalty I)^-1`` ``[d, r]``, with dW the product of the stack."""
    gram = a @ a.T
    missed = stack_b @ (stack_a @ a.T) - b @ gram
    inverse: Tensor = torch.linalg.pinv(gram + penalty * torch.eye(len(gram), dtype=gram.dtype), hermitian=True)
    return missed @ inverse


def _descend(stack_a: Tensor, stack_b: Tensor, a: Tensor, b: Tensor, penalty: float, lr: float, steps: int) -> Tensor:
    """D ``[d, r]`` after gradient descent on the column-wise cosine.

    All gradients lie in the column space of the stacked B, which holds mean(B): descent there, in an orthonormal basis
    Q of it, takes the same steps with fewer rows. With v_j a column of the product, u_j that of dW at length 1 and
    c = u_j^T v_j / ||v_j||, the gradient of c by v_j is ``(u_j - c v_j / ||v_j||) / ||v_j||``.
    """
    basis, upper = torch.linalg.qr(stack_b)
    aim = normalize(upper @ stack_a, dim=0, eps=EPS)
    begin = basis.T @ b
    own = begin
    for _ in range(steps):
        product = own @ a
        length = product.norm(dim=0)
        inverse = torch.where(length > EPS, 1 / length.clamp_min(EPS), 0.0)
        unit = product * inverse
        turn = (aim - (aim * unit).sum(dim=0) * unit) * inverse
        own = own - lr * (2 * penalty * (own - begin) - turn @ a.T / a.shape[1])
    change: Tensor = basis @ (own - begin)
    return change
