"""A is everyone's, B is each client's own."""

from dataclasses import replace

from fedloom.core import lora
from fedloom.core.contracts import Method
from fedloom.methods.fedavg import fedavg


def fedsa_lora() -> Method:
    """FedAvg of the A of each LoRA pair; B, and what is no pair (a head), learn and never leave their client.

    FedSA-LoRA, Guo et al. 2024 (arXiv 2410.01463); the local head is as in the authors' settings. There is no global
    model to speak of: under the shared A stands the B of the start, and each client is measured with its own.
    """
    return replace(fedavg(), shares=lambda name: name.endswith(lora.A), needs="pairs")
