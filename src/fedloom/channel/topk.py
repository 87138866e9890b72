"""Only what changed most."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedloom.channel._indices import Indices, Scope, check_gamma, groups, kept_shapes, pack, unpack
from fedloom.channel._stage import Coded, Shapes, Stage, expect, length
from fedloom.core.errors import FedloomError


def topk(gamma: float = 0.1, scope: Scope = "layer") -> Stage:
    """Only the share ``gamma`` of entries with the largest magnitude travels, with their indices; the rest is zero.

    Selective masking of Ji et al. 2020 (arXiv 2003.09603): of each tensor (``scope = "layer"``; as recalled, not
    confirmed), or of all together (``"global"``). The share is rounded up; among equals the first are taken. Part
    ``indices``: uint8, about ``log2(1 / gamma) + 1.5`` bits an entry that travels. What is left out weighs at most
    ``sqrt(1 - gamma)`` of the whole.

    Raises:
        FedloomError: gamma is not above 0 and at most 1.
    """
    check_gamma("topk", gamma)

    def encode(values: Tensor, shapes: Shapes, seed: int) -> Coded:
        magnitudes, found, begin = values.abs().numpy(), [np.zeros(0, dtype=np.int64)], 0
        for size, keep in groups(shapes, gamma, scope):
            found.append(begin + _largest(magnitudes[begin : begin + size], keep))
            begin += size
        indices = np.concatenate(found)
        return Coded(values[torch.from_numpy(indices)], {"indices": pack(indices, len(values))})

    def decode(coded: Coded, shapes: Shapes) -> Tensor:
        sizes, counts = np.array(groups(shapes, gamma, scope), dtype=np.int64).reshape(-1, 2).T
        values = expect(coded.values, torch.float32, int(counts.sum()), "the values of 'topk'")
        indices = unpack(coded.parts.get("indices"), len(values), length(shapes))
        if not np.array_equal(np.searchsorted(indices, sizes.cumsum()), counts.cumsum()):
            raise FedloomError(
                f"channel: the indices of 'topk' are not the share {gamma:g} of each group ({scope}). Both sides need "
                "the same channel."
            )
        whole = torch.zeros(length(shapes))
        whole[torch.from_numpy(indices)] = values
        return whole

    return Stage(
        "mask", (1 - gamma) ** 0.5, encode, decode, lambda shapes: kept_shapes(shapes, gamma, scope), change=True
    )


def _largest(magnitudes: NDArray[np.float32], keep: int) -> Indices:
    """Where the ``keep`` largest are, ascending; among equals the first."""
    if keep == 0:
        return np.zeros(0, dtype=np.int64)
    least = np.partition(magnitudes, len(magnitudes) - keep)[len(magnitudes) - keep]
    above = np.flatnonzero(magnitudes > least)
    equal = np.flatnonzero(magnitudes == least)[: keep - len(above)]
    return np.sort(np.concatenate([above, equal]))
