"""One process at a time: a lock that the system lets go of with its process, however that ends.

A file that is locked says in words who has it. What a killed process leaves is a file without a lock, and stops nobody.
The libraries for this fall back to a file's mere presence where a file system has no locks, which a killed run would
leave behind.
"""

import os
import socket
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EACCES, EAGAIN, EDEADLK, EWOULDBLOCK
from pathlib import Path

from fedloom.core.errors import FedloomError

PATIENCE = 0.5
"""Seconds that a lock is tried for: who only asks whether it is held has it for a moment."""

_TAKEN = {EACCES, EAGAIN, EDEADLK, EWOULDBLOCK}
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
"""A lock is never a link: what one leads to would be emptied."""

_BEYOND = 1 << 30
"""The byte that Windows locks: none of those that are read."""


@contextmanager
def hold(file: Path, told: str) -> Iterator[None]:
    """Be the only process that holds ``file``; afterwards it is gone, with the folders that were made for it and are
    still empty.

    Args:
        file: where the lock is; folders above it are made.
        told: what a second process is told to do, after who works in the file's folder and since when.

    Raises:
        FedloomError: another process holds it, or the file cannot be written.
    """
    made = [folder for folder in file.parents if not folder.exists()]
    try:
        handle = _taken(file, told)
    except OSError as error:
        raise FedloomError(f"{file.parent}: cannot be written: {error}. Choose another folder with --out.") from None
    try:
        yield
    finally:
        if _is(handle, file):  # else it is gone with its folder
            with suppress(OSError):  # Windows keeps what is open; there it stays, without a lock
                file.unlink()
        os.close(handle)
        with suppress(OSError):
            for folder in made:
                folder.rmdir()


def held(file: Path) -> bool:
    """Whether a process holds ``file``."""
    try:
        handle = os.open(file, os.O_RDWR | _NO_LINK)
    except OSError:
        return False
    try:
        return not _lock(handle, shared=True)
    finally:
        os.close(handle)


def _taken(file: Path, told: str) -> int:
    """The open file, locked."""
    until = time.monotonic() + PATIENCE
    while True:
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(file, os.O_RDWR | os.O_CREAT | _NO_LINK, 0o644)
        except FileNotFoundError:  # its folder went meanwhile
            continue
        if _lock(handle):
            if _is(handle, file):
                with suppress(OSError):  # a full disk: the lock holds all the same
                    os.truncate(handle, 0)
                    os.write(handle, _me().encode())
                return handle
            os.close(handle)  # it was held and removed meanwhile
            continue
        holder = os.read(handle, 200).decode(errors="replace") or "another process"
        os.close(handle)
        if time.monotonic() > until:
            raise FedloomError(f"{file.parent}: {holder} is at work in it. {told}")
        time.sleep(0.05)


def _is(handle: int, file: Path) -> bool:
    """Whether an open file is the one that is there under its name."""
    try:
        return os.path.samestat(os.fstat(handle), file.stat())
    except OSError:
        return False


def _me() -> str:
    return f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%Y-%m-%d %H:%M:%S')}"


def _lock(handle: int, shared: bool = False) -> bool:
    """Lock an open file, if nobody has; where the file system knows no locks, go on without, with a warning."""
    try:
        _system_lock(handle, shared)
    except OSError as error:
        if error.errno in _TAKEN:
            return False
        told = f"this file system has no locks ({error}): see that no second run writes into the same folder."
        warnings.warn(told, stacklevel=4)
    return True


if os.name == "nt":
    import msvcrt

    def _system_lock(handle: int, shared: bool) -> None:
        os.lseek(handle, _BEYOND, os.SEEK_SET)
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        finally:
            os.lseek(handle, 0, os.SEEK_SET)

else:
    import fcntl

    def _system_lock(handle: int, shared: bool) -> None:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
