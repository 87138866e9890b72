"""Parts of one run of bytes."""

import pytest

from fedloom.core.errors import FedloomError
from fedloom.split.frames import PART, SPARE, Gathered, parts, whole


@pytest.mark.parametrize("count", [0, 1, PART - 9, PART - 8, PART - 7, PART, 3 * PART + 5])
def test_parts_become_the_whole_again(count: int) -> None:
    blob = bytes(i % 251 for i in range(count))
    made = list(parts(blob))
    assert max(map(len, made)) <= PART
    came = Gathered(made[0], most=count)
    for part in made[1:]:
        assert not came.done
        came.add(part)
    assert came.done
    assert came.blob() == blob
    assert whole(blob) == (made[0] if len(made) == 1 else None)


def test_more_than_allowed_is_refused_by_its_announcement_alone() -> None:
    with pytest.raises(FedloomError, match="1000 bytes are more than the 999 allowed"):
        Gathered(next(parts(bytes(1000))), most=999)


@pytest.mark.parametrize("first", [b"", b"1234567"])
def test_a_first_part_says_how_many(first: bytes) -> None:
    with pytest.raises(FedloomError, match="expected 8 that say how many"):
        Gathered(first, most=10)


def test_crumbs_are_refused() -> None:
    """A gigabyte in parts of a byte would cost as much as a gigabyte of requests."""
    came = Gathered((3 * PART).to_bytes(8, "little"), most=3 * PART)
    for _ in range(3 + SPARE):
        came.add(b"x")
    with pytest.raises(FedloomError, match="11 bytes came in 12 parts, expected 1048576 bytes in each"):
        came.add(b"x")


def test_what_came_is_what_was_announced() -> None:
    came = Gathered(whole(b"abc")[:9], most=10)
    with pytest.raises(FedloomError, match="1 bytes came, and 3 were announced"):
        came.blob()
    with pytest.raises(FedloomError, match="4 bytes came, and 3 were announced"):
        came.add(b"bcd")
