"""LoRA pairs beside linear layers."""

import torch

from fedloom.adapters import _fully
from fedloom.adapters._pairs import Pairs, beside_linears, components
from fedloom.core import starts
from fedloom.core.contracts import Adapter, Base
from fedloom.core.errors import FedloomError
from fedloom.core.spec import AdapterSpec


def lora(spec: AdapterSpec) -> Adapter:
    """LoRA pairs beside every chosen linear layer.

    Hu et al. 2021 (arXiv 2106.09685), eq. 3: ``W x + (alpha / rank) B A x``. They start with A drawn and B zero, or,
    with ``init = "svd"``, with both from the largest singular directions of W0 (``fedloom.core.starts``).

    Raises:
        FedloomError: a start that is not this kind's.
    """
    if spec.init == "update":
        raise FedloomError(
            "adapter.init = 'update': a start from the clients' first update is that of kind 'lora-sb'; set kind or "
            "init."
        )

    def place(base: Base) -> Pairs:
        def begin(module: str, layer: torch.nn.Linear, stream: torch.Generator) -> starts.Start:
            if spec.init == "kaiming":
                return starts.kaiming(layer.out_features, layer.in_features, spec.rank, stream)
            weight = layer.get_base_layer().weight  # type: ignore[operator]
            return starts.pissa(weight, spec.rank, spec.scale, base.seeds, module)

        own = _fully.placed(base, spec)
        return Pairs(base, spec, components(base, spec), beside_linears(base, spec), begin, own)

    return Adapter(lambda base: components(base, spec), place, pairs=True)
