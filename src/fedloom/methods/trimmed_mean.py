"""The mean of the clients without the extremes, entry by entry."""

from torch import Tensor

from fedloom.core import shares
from fedloom.core.contracts import Method
from fedloom.methods._common import number
from fedloom.methods._robust import by_entry

FEWEST = 3
"""Of so many clients and more, one at either end is dropped whatever the share."""


def trimmed_mean(cut: float = 0.1) -> Method:
    """The coordinate-wise mean of the clients' adapters without the share ``cut`` of them at either end.

    Yin et al. 2018 (arXiv 1803.01498), Definition 2: of n values of an entry the ``floor(cut * n)`` smallest and as
    many of the largest are dropped, and the rest are averaged; the product is exact (29 of 100 at 0.29, where floating
    point, and Flower, have 28). It withstands that many attackers: below ``1 / cut`` clients
    it drops none and is the plain mean. Clients count all the same, whatever they hold. For LoRA pairs the rule acts on
    A and B as they are, tensor by tensor, so the product of the two means is not the trimmed mean of the products B A.

    Raises:
        FedloomError: a cut outside [0, 0.5).
    """
    number("trimmed-mean: cut", cut, least=0.0, below=0.5)

    def rule(ascending: Tensor) -> Tensor:
        clients = len(ascending)
        drop = max(shares.count(cut, clients, "down"), int(cut > 0 and clients >= FEWEST))
        return ascending[drop : len(ascending) - drop].mean(dim=0)

    return by_entry(rule)
