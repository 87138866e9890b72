"""LoRA pairs with a small matrix between them."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedloom.adapters import _fully
from fedloom.adapters._pairs import Pairs, beside_linears, components
from fedloom.core import starts
from fedloom.core.contracts import Adapter, Base
from fedloom.core.errors import FedloomError
from fedloom.core.spec import AdapterSpec


def lora_sb(spec: AdapterSpec) -> Adapter:
    """A small R between orthonormal factors beside every chosen linear layer.

    Fed-SB, Singhal et al. 2025 (arXiv 2502.15436): ``W x + (alpha / rank) B R A x`` with R ``[rank, rank]``. B and A
    start from the singular directions of the clients' first update (``init = "update"``), which one more exchange
    before round 1 tells, or of the weight (``"svd"``).

    Raises:
        FedloomError: a start that is not this kind's.
    """
    if spec.init == "kaiming":
        raise FedloomError(
            "adapter.init = 'kaiming': kind 'lora-sb' starts from singular directions; set init to 'update' (those of "
            "the clients' first update) or 'svd' (those of the weights)."
        )

    def place(base: Base) -> Pairs:
        def begin(module: str, layer: Any, stream: torch.Generator) -> starts.Start:
            if spec.init == "update":
                return starts.unknown(layer.out_features, layer.in_features, spec.rank, stream, module)
            return starts.between(layer.get_base_layer().weight, spec.rank, base.seeds, module)

        own, touches, layers = _fully.placed(base, spec), components(base, spec), beside_linears(base, spec)
        for layer in layers.values():
            layer.lora_A["default"] = Squared(layer.lora_A["default"])
        base.model.eval()
        return Pairs(base, spec, touches, layers, begin, own)

    return Adapter(lambda base: components(base, spec), place, pairs=True, squares=True)


class Squared(nn.Linear):
    """A ``[r, k]``, its ``weight``, and R ``[r, r]``, that of ``square``, applied one after the other: in the place of
    A, so that PEFT's own layer computes B R A x."""

    def __init__(self, a: nn.Linear) -> None:
        rank, features = a.weight.shape
        super().__init__(features, rank, bias=False, device="meta")  # nothing is drawn or kept of it
        self.weight = a.weight
        square = nn.Linear(rank, rank, bias=False, device="meta", dtype=a.weight.dtype)
        self.square = square.to_empty(device=a.weight.device)

    def forward(self, x: Tensor) -> Tensor:
        """``[..., k]`` to ``[..., r]``."""
        made: Tensor = self.square(F.linear(x, self.weight))
        return made
