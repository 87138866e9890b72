"""The numbers of the entries that travel: against a coder written bit by bit, and against everything bent."""

import itertools
import math
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedloom.channel._indices import BITMAP, groups, pack, unpack
from fedloom.core.errors import FedloomError


def bits(text: str) -> list[int]:
    """The bytes of a string of bits, filled up with zeros."""
    text += "0" * (-len(text) % 8)
    return [int(text[at : at + 8], 2) for at in range(0, len(text), 8)]


def rice(chosen: list[int], shift: int) -> list[int]:
    """What the module's docstring says, with strings."""
    gaps = [b - a - 1 for a, b in itertools.pairwise([-1, *chosen])]
    low = "".join(str(gap >> bit & 1) for bit in range(shift) for gap in gaps)
    return [shift, *bits(low), *bits("".join("0" * (gap >> shift) + "1" for gap in gaps))]


def test_few_indices_by_hand() -> None:
    # gaps 5, 9, 0 at r = 2: low bits 01, 01, 00 (lowest bits first: 110, then 000), unary 01 001 1
    packed = torch.tensor([2, 0b11000000, 0b01001100], dtype=torch.uint8)
    assert unpack(packed, 3, 40).tolist() == [5, 15, 16]


@given(st.sets(st.integers(0, 3000), max_size=300), st.integers(0, 70))
def test_bytes_are_those_of_the_shortest_of_all_ways_up_to_what_fills_the_last(chosen: set[int], more: int) -> None:
    ordered = sorted(chosen)
    entries = max(chosen, default=0) + 1 + more
    packed = pack(np.array(ordered, dtype=np.int64), entries)
    bitmap = [BITMAP, *bits("".join(str(int(entry in chosen)) for entry in range(entries)))]
    made = packed.tolist()
    assert made == (bitmap if made[0] == BITMAP else rice(ordered, made[0]))
    assert len(made) <= 1 + min(len(bitmap), *(len(rice(ordered, shift)) for shift in range(13)))
    assert unpack(packed, len(ordered), entries).tolist() == ordered


@pytest.mark.parametrize("gamma", [0.001, 0.01, 0.1, 0.3, 0.5, 0.9, 1.0])
def test_random_indices_take_little_more_than_their_information(gamma: float) -> None:
    entries = 200_000
    count = int(gamma * entries)
    chosen = np.sort(np.random.default_rng(0).permutation(entries)[:count])
    bound = (math.lgamma(entries + 1) - math.lgamma(count + 1) - math.lgamma(entries - count + 1)) / math.log(2) / 8
    size = len(pack(chosen, entries))
    if gamma <= 0.3:
        assert size < 1.04 * bound + 8
    assert size <= entries // 8 + 1


def test_nothing_of_nothing() -> None:
    packed = pack(np.zeros(0, dtype=np.int64), 0)
    assert packed.numel() == 1
    assert unpack(packed, 0, 0).tolist() == []


GOOD = pack(np.array([3, 500, 777]), 1000)
FULL = pack(np.arange(0, 16, 2), 16)


@pytest.mark.parametrize(
    ("packed", "count", "entries"),
    [
        (None, 3, 1000),
        (GOOD.float(), 3, 1000),
        (GOOD[:0], 3, 1000),
        (GOOD[:1], 3, 1000),
        (GOOD[:-1], 3, 1000),
        (torch.cat([GOOD, torch.zeros(1, dtype=torch.uint8)]), 3, 1000),
        (GOOD, 2, 1000),
        (GOOD, 4, 1000),
        (GOOD, 3, 777),
        (FULL[:-1], 8, 16),
        (FULL, 7, 16),
        (FULL, 8, 14),
        (FULL, 8, 8),
        (torch.tensor([254, 255, 255], dtype=torch.uint8), 3, 1000),
        (torch.tensor([0] + [0] * 200_000 + [7], dtype=torch.uint8), 3, 1000),
    ],
)
def test_other_bytes_are_refused(packed: torch.Tensor | None, count: int, entries: int) -> None:
    with pytest.raises(FedloomError, match=r"the indices are .*cut short or changed"):
        unpack(packed, count, entries)


@pytest.mark.parametrize("shift", [0, 5, BITMAP])
def test_a_message_far_too_long_is_not_even_unpacked(shift: int) -> None:
    packed = torch.zeros(2**20, dtype=torch.uint8)
    packed[0] = shift
    tracemalloc.start()
    try:
        with pytest.raises(FedloomError):
            unpack(packed, 3, 1000)
        assert tracemalloc.get_traced_memory()[1] < 2**18
    finally:
        tracemalloc.stop()


@given(st.binary(max_size=40), st.integers(0, 20), st.integers(0, 200))
def test_whatever_the_bytes_the_indices_are_good_or_refused(noise: bytes, count: int, entries: int) -> None:
    try:
        found = unpack(torch.tensor(list(noise), dtype=torch.uint8), count, entries)
    except FedloomError:
        return
    assert len(found) == count
    assert all(0 <= a < b < entries for a, b in itertools.pairwise([*found, entries]) if b != entries)
    assert not count or 0 <= found[0] <= found[-1] < entries


def test_a_share_is_rounded_up_and_is_at_least_one() -> None:
    assert groups(((3, 10), (7,), (0, 4), (1,)), 0.1, "layer") == [(30, 3), (7, 1), (0, 0), (1, 1)]
    assert groups(((3, 10), (7,), (0, 4), (1,)), 0.1, "global") == [(38, 4)]
    assert groups(((100,),), 0.07, "layer") == [(100, 7)]  # although 0.07 * 100 > 7 in floating point
