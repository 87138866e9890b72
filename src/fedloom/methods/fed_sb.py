"""Only the small matrix between B and A learns and travels."""

from dataclasses import replace

from fedloom.core import lora
from fedloom.core.contracts import Method, State, Tree
from fedloom.core.errors import FedloomError
from fedloom.methods.fedavg import fedavg


def fed_sb() -> Method:
    """FedAvg of the R ``[r, r]`` of each module, whose weight is ``W + s B R A``; A and B never change.

    Fed-SB, Singhal et al. 2025 (arXiv 2502.15436): ``sum_k p_k B R_k A = B (sum_k p_k R_k) A``, so the mean is exact,
    and a module costs r^2 numbers. Needs ``adapter.kind = "lora-sb"``.

    A, B and the first R are the paper's with ``adapter.init = "update"``: in one exchange before round 1 each client of
    the first cohort tells the signs of its summed gradients by the adapted weights over up to 50 examples, and the
    server takes the SVD of ``dW = -sum_k p_k eta_k sign_k`` (LoRA-SB, arXiv 2411.19557)::

        B = U_r,  A = V_r^T,  R = S_r / s,   eta_k = lr / (0.02 x the client's steps in all)

    With ``"svd"`` they are the directions of the weight, with R = 0 (as LoRA-XS, arXiv 2405.17604), which costs no
    exchange.

    What is no pair (a head) learns and is averaged as well; p_k are shares of the training examples (the authors' code:
    1 / K).
    """

    def is_no_half(name: str) -> bool:
        return not lora.is_pair(name)

    plain = fedavg()

    def init(adapter: Tree, scale: float, clients: int) -> State:
        if not any(name.endswith(lora.R) for name in adapter):
            raise FedloomError(
                "fed-sb needs adapter.kind = 'lora-sb': it trains the R between B and A, and this adapter has none."
            )
        return plain.server.init(adapter, scale, clients)

    return replace(
        plain, server=replace(plain.server, init=init), trains=is_no_half, shares=is_no_half, needs="squares"
    )
