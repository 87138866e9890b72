"""Only B learns and travels."""

from dataclasses import replace

from fedloom.core import lora
from fedloom.core.contracts import Method
from fedloom.methods.fedavg import fedavg


def ffa_lora() -> Method:
    """FedAvg of the B of each LoRA pair: A stays as it was drawn, the same for everyone.

    FFA-LoRA, Sun et al. 2024 (arXiv 2403.12313): ``sum_k p_k B_k A = (sum_k p_k B_k) A``, so the mean is exact at half
    the bytes. What is no pair (a head) learns and is averaged as well; p_k are shares of the training examples.
    """

    def is_no_a(name: str) -> bool:
        return not name.endswith(lora.A)

    return replace(fedavg(), trains=is_no_a, shares=is_no_a, needs="pairs")
