"""CLIP-Adapter's two layers on pictures' vectors."""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from fedloom.adapters._placed import Placed, matching, narrowed, no_pairs, parameters
from fedloom.core.contracts import Adapter, Base
from fedloom.core.device import device
from fedloom.core.spec import AdapterSpec
from fedloom.core.table import Count

Ratio = Annotated[float, Field(gt=0, le=1)]


def clip_adapter(spec: AdapterSpec, reduction: Count = 4, ratio: Ratio = 0.2) -> Adapter:
    """CLIP-Adapter: a bottleneck on pictures' vectors, mixed with them.

    Gao et al. 2021 (arXiv 2110.04544), eqs. 2 and 4: ``I' = ratio relu(W2 relu(W1 I)) + (1 - ratio) I``, without
    biases, W1 ``[D / reduction, D]`` and W2 ``[D, D / reduction]``, both drawn from the experiment's seed as torch
    draws a linear layer's; the towers are frozen. I is the vector after the projection, of length 1. Zero-shot is the
    model's own, without it.

    Raises:
        FedloomError: a reduction that does not divide D, a model that answers in text, or a start of pairs.
    """
    no_pairs(spec)

    def touches(base: Base) -> frozenset[str]:
        matching(base, spec)
        return frozenset()

    def place(base: Base) -> Bottleneck:
        return Bottleneck(base, spec, reduction, ratio)

    return Adapter(touches, place)


class Bottleneck(Placed):
    """W1 and W2 on vectors ``[B, D]`` of pictures.

    Raises:
        FedloomError: the reduction does not divide D, or the model answers in text.
    """

    def __init__(self, base: Base, spec: AdapterSpec, reduction: int, ratio: float) -> None:
        matching(base, spec)
        width, inner = narrowed(base, reduction)
        with torch.random.fork_rng(devices=[]):
            first, last = nn.Linear(width, inner, bias=False), nn.Linear(inner, width, bias=False)
        stream = base.seeds.torch("adapter/init")
        with torch.no_grad():
            for layer in (first, last):
                bound = 1 / math.sqrt(layer.in_features)
                layer.weight.uniform_(-bound, bound, generator=stream)
        self._ratio = ratio
        self._layers = nn.Sequential(first, nn.ReLU(), last, nn.ReLU()).to(device())
        self.modules = (self._layers,)
        super().__init__(base, spec, frozenset(), parameters(self._layers, "adapter"))

    def images(self, vectors: Tensor) -> Tensor:
        """``ratio relu(W2 relu(W1 I)) + (1 - ratio) I``, ``[B, D]``, in float32; the vectors where it is left out."""
        if self.left_out:
            return vectors
        with torch.autocast(vectors.device.type, enabled=False):
            own = nn.functional.normalize(vectors.float(), dim=-1)
            made: Tensor = self._ratio * self._layers(own) + (1 - self._ratio) * own
        return made
