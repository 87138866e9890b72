"""Weights that clients choose themselves, of which none has more than its part.

A Fisher information, a loss or the length of an update says how much a client counts, and a client can send any. What
it cannot choose is how many others there are: of K clients none has more than ``cap / K`` of a sum.
"""

import torch
from torch import Tensor

from fedloom.methods._common import number


def check_cap(option: str, cap: float) -> None:
    """Check an option ``cap``: 0 (none), or 1 (all clients count the same) or more.

    Raises:
        FedloomError: naming the ``option`` and what was expected.
    """
    if cap:
        number(option, cap, least=1.0)


def capped(weights: Tensor, cap: float) -> Tensor:
    """Weights of which none is more than ``cap / K`` of its column's sum; columns where none was stay as they are.

    The largest are lowered to one value t, the smallest number m of them that will do: with s = cap / K and R the sum
    of all others, ``t = s R / (1 - m s)``, so that each has exactly the share s. Where R is zero, those m have the
    share s and the others the rest of it, evenly.

    Args:
        weights: ``[K, ...]``, at least zero, finite, float64.
        cap: at least 1; 0 leaves all weights as they are.

    Returns:
        Weights of the same shape. A column of zeros stays so; where there is a cap, a weight too small for a normal
        number (2.2e-308) counts as zero.
    """
    count = len(weights)
    most = cap / count
    if not cap or most >= 1:
        return weights
    weights = weights.where(weights >= torch.finfo(weights.dtype).tiny, 0)  # parts of those below cannot be told
    ascending = weights.sort(dim=0).values
    sums = ascending.cumsum(dim=0)  # from the smallest: what is left beside one of 1e30 is not lost
    limit = torch.full_like(weights[0], torch.inf)
    for number_capped in range(1, count):
        left, place = 1 - number_capped * most, count - number_capped
        if left <= 0:
            break
        above = ascending[place] * (left + most) > most * sums[place]
        limit = torch.where(above, most * sums[place - 1] / left, limit)
    alone = limit == 0
    if not bool(alone.any()):
        return torch.minimum(weights, limit)
    some = weights > 0
    held = some.sum(dim=0).clamp(max=count - 1).double()
    spread = torch.where(some, most, (1 - held * most) / (count - held))
    return torch.where(alone, spread, torch.minimum(weights, limit))
