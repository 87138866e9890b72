"""Some entries drawn at random: what ``topk`` is measured against."""

import numpy as np
import torch
from torch import Tensor

from fedloom.channel._indices import Indices, Scope, check_gamma, groups, kept_shapes
from fedloom.channel._stage import Coded, Shapes, Stage, expect, length
from fedloom.core.errors import FedloomError


def random_mask(gamma: float = 0.1, scope: Scope = "layer") -> Stage:
    """Only the share ``gamma`` of entries travels, drawn at random for each message; the rest is zero.

    Random masking, the baseline of Ji et al. 2020 (arXiv 2003.09603): of each tensor (``scope = "layer"``), or of all
    together (``"global"``), the share rounded up. What travels is not divided by ``gamma``, so a mean of many is
    ``gamma`` times the whole, not the whole. Part ``seed``: int64 ``[1]``, from which the receiver draws the same
    entries; there are no indices.

    Raises:
        FedloomError: gamma is not above 0 and at most 1.
    """
    check_gamma("random-mask", gamma)

    def encode(values: Tensor, shapes: Shapes, seed: int) -> Coded:
        chosen = torch.from_numpy(_draw(groups(shapes, gamma, scope), seed))
        return Coded(values[chosen], {"seed": torch.tensor([seed])})

    def decode(coded: Coded, shapes: Shapes) -> Tensor:
        kept = groups(shapes, gamma, scope)
        values = expect(coded.values, torch.float32, sum(keep for _, keep in kept), "the values of 'random-mask'")
        seed = int(expect(coded.parts.get("seed"), torch.int64, 1, "the seed of 'random-mask'"))
        if seed < 0:
            raise FedloomError(f"channel: the seed of 'random-mask' is {seed}, expected a number from 0.")
        whole = torch.zeros(length(shapes))
        whole[torch.from_numpy(_draw(kept, seed))] = values
        return whole

    error = 1.0 if gamma < 1 else 0.0
    return Stage("mask", error, encode, decode, lambda shapes: kept_shapes(shapes, gamma, scope), change=True)


def _draw(kept: list[tuple[int, int]], seed: int) -> Indices:
    """Where the entries lie that travel, ascending: ``keep`` out of each ``size``, every choice as likely.

    Places are drawn until enough are different, or, where most are kept, until enough to be left out are. Only PCG64's
    raw bits are used, which NumPy promises never to change, so both sides may have different versions of it.
    """
    stream = np.random.PCG64(seed)
    mask = np.empty(sum(size for size, _ in kept), dtype=bool)
    begin = 0
    for size, keep in kept:
        part = mask[begin : begin + size]
        drawn = 2 * keep <= size
        part[:] = not drawn
        missing = keep if drawn else size - keep
        while missing:
            places = (stream.random_raw(missing) >> np.uint64(12)) * (size * 2.0**-52)  # below size, exactly
            part[places.astype(np.int64)] = drawn
            missing = (keep if drawn else size - keep) - int(np.count_nonzero(part == drawn))
        begin += size
    return np.flatnonzero(mask)
