"""The socket between a site's ClientApp and its resident worker: one question, one answer, each after its length.

The socket is a file that its owner alone can open, in a folder that its owner alone can enter.
"""

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fedloom.core.errors import FedloomError
from fedloom.site.letter import MAX_LETTER

LONGEST_PATH = 100
"""Characters that every system takes for a socket's path."""


class Gone(Exception):
    """The other side is not there, or ended while it was asked."""


@contextmanager
def short(path: Path) -> Iterator[str]:
    """A name of the socket's file that every system takes, however deep the file lies.

    Raises:
        FedloomError: the path is too long, and this system has no other name for it.
    """
    if len(str(path)) <= LONGEST_PATH:
        yield str(path)
        return
    if not Path("/proc/self/fd").is_dir():
        raise FedloomError(f"{path}: longer than the {LONGEST_PATH} characters of a socket's path. Fix: --state.")
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def ask(path: Path, question: bytes, timeout: float | None = None) -> bytes:
    """The answer of whoever listens at ``path``; ``timeout`` in seconds (``None``: as long as it takes).

    Raises:
        Gone: nobody listens there, or whoever did ended.
    """
    try:
        with short(path) as name, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
            link.settimeout(timeout)
            link.connect(name)
            with suppress(BrokenPipeError, ConnectionResetError):  # it was refused by its length: the answer says so
                send(link, question)
            return receive(link)
    except OSError as error:
        raise Gone(f"{path}: {error.strerror or error}") from None


def send(link: socket.socket, blob: bytes) -> None:
    """Write one message."""
    link.sendall(struct.pack("<Q", len(blob)))
    link.sendall(blob)


def receive(link: socket.socket, max_bytes: int = MAX_LETTER) -> bytes:
    """Read one message, at most ``max_bytes`` long.

    Raises:
        Gone: the other side ended.
        FedloomError: the message says that it is longer; nothing of it was read.
    """
    (length,) = struct.unpack("<Q", _exactly(link, 8))
    if length > max_bytes:
        raise FedloomError(f"a message of {length} bytes is more than the {max_bytes} allowed.")
    return _exactly(link, length)


def _exactly(link: socket.socket, count: int) -> bytes:
    parts, left = [], count
    while left:
        part = link.recv(min(left, 2**20))
        if not part:
            raise Gone("the other side ended in the middle of a message")
        parts.append(part)
        left -= len(part)
    return b"".join(parts)
