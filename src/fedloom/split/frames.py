"""How one run of bytes travels as a stream: in parts of a megabyte, of which the first says how many bytes there are.

[8 bytes: how many follow][up to 1 MiB - 8]  [1 MiB]  [1 MiB] ...
"""

import struct
from collections.abc import Iterator

from fedloom.split.errors import Refused

METHOD = "Ask"
SERVICE = "fedloom.Host"
PART = 1 << 20
"""Bytes of a part, at most."""

RATE = 1 << 20
"""Bytes a second that a connection is at least expected to carry."""

SPARE = 8
"""Parts beyond those that are needed: each costs the same, whatever it holds."""

SENDING = "--sending"
"""The option of a host that allows more time; its name in a status tells a client who ended the sending."""

_HEAD = struct.Struct("<Q")


def parts(blob: bytes) -> Iterator[bytes]:
    """The bytes in parts, the first of which says how many there are."""
    first = PART - _HEAD.size
    yield _HEAD.pack(len(blob)) + blob[:first]
    for begin in range(first, len(blob), PART):
        yield blob[begin : begin + PART]


def whole(blob: bytes) -> bytes | None:
    """The bytes as a single part; ``None`` where they need more."""
    return _HEAD.pack(len(blob)) + blob if len(blob) <= PART - _HEAD.size else None


class Gathered:
    """Bytes that come in parts; ``total`` is what the ``first`` said.

    Raises:
        Refused: it says nothing, or more than ``most``.
    """

    def __init__(self, first: bytes, most: int) -> None:
        if len(first) < _HEAD.size:
            raise Refused(f"split: the first part has {len(first)} bytes, expected 8 that say how many follow.")
        self.total: int = _HEAD.unpack_from(first)[0]
        if self.total > most:
            raise Refused(f"split: {self.total} bytes are more than the {most} allowed.")
        self._parts: list[bytes] = []
        self.have = 0
        self.add(first[_HEAD.size :])

    def add(self, part: bytes) -> None:
        """Take the next part.

        Raises:
            Refused: it is more than was said, or in crumbs.
        """
        if len(self._parts) > self.total // PART + SPARE:
            raise Refused(f"split: {self.have} bytes came in {len(self._parts)} parts, expected {PART} bytes in each.")
        self.have += len(part)
        if self.have > self.total:
            raise Refused(f"split: {self.have} bytes came, and {self.total} were announced.")
        self._parts.append(part)

    @property
    def done(self) -> bool:
        """Whether all bytes are there."""
        return self.have == self.total

    def blob(self) -> bytes:
        """All bytes.

        Raises:
            Refused: some are missing.
        """
        if not self.done:
            raise Refused(f"split: {self.have} bytes came, and {self.total} were announced.")
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
