"""Which entries of a vector travel, and their numbers in few bytes.

    [1 byte: r, or 255][low r bits of every gap, bit by bit][gap >> r of every gap in unary: that many 0s, then a 1]

A gap is the number of entries left out before one that travels (Rice 1979: near the entropy where entries are left out
independently). 255: a bitmap follows instead, one bit an entry. The sender takes whichever is shorter.
"""

import math
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedloom.channel._stage import Shapes, length
from fedloom.core import shares
from fedloom.core.errors import FedloomError

Scope = Literal["layer", "global"]
Indices = NDArray[np.int64]

BITMAP = 255


def groups(shapes: Shapes, gamma: float, scope: Scope) -> list[tuple[int, int]]:
    """Entries of each group, and how many of them travel: the share ``gamma``, rounded up, and at least one of any.

    A group is a tensor (``layer``), or all of them (``global``).
    """
    sizes = [torch.Size(shape).numel() for shape in shapes] if scope == "layer" else [length(shapes)]
    return [(size, shares.count(gamma, size, "up")) for size in sizes]


def kept_shapes(shapes: Shapes, gamma: float, scope: Scope) -> Shapes:
    """The shapes of what travels: a vector for each group."""
    return tuple((keep,) for _, keep in groups(shapes, gamma, scope))


def check_gamma(name: str, gamma: float) -> None:
    """Check the share of entries that travel.

    Raises:
        FedloomError: it is not above 0 and at most 1.
    """
    if not 0 < gamma <= 1:
        raise FedloomError(f"{name}: gamma is {gamma:g}, expected the share of entries to send, above 0 and at most 1.")


def pack(indices: Indices, entries: int) -> Tensor:
    """Ascending numbers below ``entries`` as bytes."""
    gaps = np.diff(indices, prepend=-1) - 1
    sizes = {shift: _rice_bytes(gaps, shift) for shift in _shifts(len(indices), entries)}
    shift = min(sizes, key=lambda r: sizes[r])
    if sizes[shift] >= -(-entries // 8):
        mask = np.zeros(entries, dtype=bool)
        mask[indices] = True
        return _join(BITMAP, np.packbits(mask))
    planes = (gaps >> np.arange(shift)[:, None]) & 1
    ends = np.cumsum((gaps >> shift) + 1) - 1
    unary = np.zeros(ends.max(initial=-1) + 1, dtype=bool)
    unary[ends] = True
    return _join(shift, np.packbits(planes.astype(bool)), np.packbits(unary))


def unpack(packed: Tensor | None, count: int, entries: int) -> Indices:
    """``count`` ascending numbers below ``entries``.

    Takes memory in proportion to ``entries``, whatever the bytes say.

    Raises:
        FedloomError: these bytes say something else.
    """
    if packed is None or packed.dtype != torch.uint8 or not packed.numel():
        raise _wrong("missing" if packed is None else f"{packed.dtype} {list(packed.shape)}", count, entries)
    data = packed.reshape(-1).numpy()
    shift, data = int(data[0]), data[1:]
    if shift == BITMAP:
        if len(data) != -(-entries // 8):
            raise _wrong(f"a bitmap of {len(data)} bytes", count, entries)
        indices = np.flatnonzero(np.unpackbits(data))
    else:
        low, high = -(-count * shift // 8), (count + (entries >> shift) + 7) // 8
        if shift > entries.bit_length() or not low <= len(data) <= low + high:
            raise _wrong(f"{len(data)} bytes with r = {shift}", count, entries)
        ends = np.flatnonzero(np.unpackbits(data[low:]))
        if len(ends) != count or (count and ends[-1] // 8 != len(data) - low - 1):
            raise _wrong(f"a stream of {len(ends)} in {len(data) - low} bytes", count, entries)
        planes = np.unpackbits(data[:low], count=count * shift).reshape(shift, count)
        rest = np.zeros(count, dtype=np.int64)
        for bit, plane in enumerate(planes):
            rest |= plane.astype(np.int64) << bit
        order = np.arange(count)
        indices = ((ends - order) << shift) + np.cumsum(rest) + order
    if len(indices) != count or (count and indices[-1] >= entries):
        raise _wrong(f"{len(indices)} up to {indices[-1] if len(indices) else 'none'}", count, entries)
    return indices


def _shifts(count: int, entries: int) -> range:
    """The numbers of low bits worth trying: beyond log2 of the mean gap, one more costs all that it can save."""
    return range(int(math.log2(max(1, entries / max(1, count)))) + 2)


def _rice_bytes(gaps: Indices, shift: int) -> int:
    unary = int((gaps >> shift).sum()) + len(gaps)
    return -(-len(gaps) * shift // 8) - (-unary // 8)


def _join(header: int, *rest: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(np.concatenate([np.array([header], dtype=np.uint8), *rest]))


def _wrong(found: str, count: int, entries: int) -> FedloomError:
    return FedloomError(
        f"channel: the indices are {found}, expected {count} below {entries}. They were cut short or changed on their "
        "way, or both sides do not have the same channel."
    )
