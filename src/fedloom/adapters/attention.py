"""FedCLIP's attention on pictures' vectors."""

import math

import torch
from torch import Tensor, nn

from fedloom.adapters._placed import Placed, matching, narrowed, no_pairs, parameters
from fedloom.core.contracts import Adapter, Base
from fedloom.core.device import device
from fedloom.core.spec import AdapterSpec
from fedloom.core.table import Count


def attention(spec: AdapterSpec, reduction: Count = 1) -> Adapter:
    """FedCLIP's attention adapter: which entries of a picture's vector matter.

    Lu et al. 2023 (arXiv 2302.13485): ``I' = softmax(W2 tanh(W1 I)) * I``, both layers with a bias, W1
    ``[D / reduction, D]`` and W2 ``[D, D / reduction]``; the towers are frozen. W1 is drawn as torch draws a linear
    layer's, from the experiment's seed; W2 and its bias start at zero, where the softmax is uniform and ``I' = I / D``
    has the direction of I: zero in effect (the authors draw all).

    Raises:
        FedloomError: a reduction that does not divide D, a model that answers in text, or a start of pairs.
    """
    no_pairs(spec)

    def touches(base: Base) -> frozenset[str]:
        matching(base, spec)
        return frozenset()

    def place(base: Base) -> Attention:
        return Attention(base, spec, reduction)

    return Adapter(touches, place)


class Attention(Placed):
    """W1 and W2 on vectors ``[B, D]`` of pictures.

    Raises:
        FedloomError: the reduction does not divide D, or the model answers in text.
    """

    def __init__(self, base: Base, spec: AdapterSpec, reduction: int) -> None:
        matching(base, spec)
        width, inner = narrowed(base, reduction)
        with torch.random.fork_rng(devices=[]):
            first, last = nn.Linear(width, inner), nn.Linear(inner, width)
        stream, bound = base.seeds.torch("adapter/init"), 1 / math.sqrt(width)
        with torch.no_grad():
            for value in (first.weight, first.bias):
                value.uniform_(-bound, bound, generator=stream)
            for value in (last.weight, last.bias):
                value.zero_()
        self._gate = nn.Sequential(first, nn.Tanh(), last, nn.Softmax(dim=-1)).to(device())
        self.modules = (self._gate,)
        super().__init__(base, spec, frozenset(), parameters(self._gate, "attention"))

    def images(self, vectors: Tensor) -> Tensor:
        """``softmax(W2 tanh(W1 I)) * I``, ``[B, D]``, in float32; I where it is left out."""
        if self.left_out:
            return vectors
        with torch.autocast(vectors.device.type, enabled=False):
            made: Tensor = self._gate(vectors.float()) * vectors.float()
        return made
