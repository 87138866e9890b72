"""Parcels in files, each with a seal: a hash over all that is in it, facts and tensors, which tells any change.

A file that cannot be *read* is not a damaged one: what is in it may be as good as ever, and nothing is done about it.
"""

import hashlib
import json
from pathlib import Path

from fedloom.core import tree, wire
from fedloom.core.contracts import Parcel
from fedloom.core.errors import FedloomError
from fedloom.core.files import write_atomic

SEAL = "seal"
"""The fact of a parcel in a file that holds its seal."""


class Damaged(FedloomError):
    """A file, or what it goes with, is not what was written."""


def seal(parcel: Parcel) -> str:
    """SHA-256 over a parcel's facts and, slot by slot, its tensors' names, types, shapes and bytes."""
    slots = {slot: tree.fingerprint(tensors) for slot, tensors in parcel.trees.items()}
    return hashlib.sha256(json.dumps([parcel.facts, slots], sort_keys=True).encode()).hexdigest()


def write(file: Path, parcel: Parcel) -> str:
    """Write a parcel, whole or not at all; returns its seal.

    Raises:
        FedloomError: it could not be read again: NaN, infinity, or a fact that is no text and no number. The file is
            as it was.
        OSError: as ``write_atomic``.
    """
    wire.check(parcel, {})
    mark = seal(parcel)
    write_atomic(file, wire.pack(Parcel(parcel.trees, {**parcel.facts, SEAL: mark})))
    return mark


def told(file: Path) -> str:
    """The seal that a file says it has, without reading what it seals.

    Raises:
        FedloomError: it is no parcel.
        OSError: it cannot be read.
    """
    with file.open("rb") as opened:
        length = opened.read(8)
        head = length + opened.read(min(int.from_bytes(length, "little"), wire.MAX_HEADER))
    return str(wire.facts(head).get(SEAL, ""))


def read(file: Path) -> tuple[Parcel, str]:
    """The parcel that a file holds, and its seal: ``""`` where an older release wrote it, which the caller must check.

    Raises:
        Damaged: it is not what was written.
        FedloomError: it cannot be read.
        FileNotFoundError: it is not there.
    """
    try:
        blob = file.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise FedloomError(
            f"{file}: cannot be read: {error.strerror or error}. What it holds may be good, so nothing was changed: "
            "see that this user can read it, and resume."
        ) from None
    try:
        parcel = wire.unpack(blob, max_bytes=len(blob))
    except FedloomError as error:
        raise Damaged(f"{file} is damaged: {error}") from None
    mark = parcel.facts.pop(SEAL, "")
    if mark and mark != seal(parcel):
        raise Damaged(f"{file} is damaged: what it holds is not what was written; its hash tells.")
    return parcel, str(mark)
