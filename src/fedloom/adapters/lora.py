"""LoRA pairs beside linear layers."""

from typing import Any

from fedloom.core.contracts import Adapter, Base
from fedloom.core.spec import AdapterSpec


def lora(spec: AdapterSpec) -> Adapter:
    """LoRA pairs: W x + (alpha / rank) B A x beside every chosen linear layer (Hu et al. 2021, eq. 3)."""

    def touches(base: Base) -> frozenset[str]:
        raise NotImplementedError

    def place(base: Base) -> Any:
        raise NotImplementedError

    return Adapter(touches, place, pairs=True)
