"""The lines of a run: ``rounds.jsonl`` and ``clients.jsonl`` grow by lines, of which each checkpoint knows its own.

A checkpoint holds a mark of each file: how many bytes belong to its rounds, and their hash. What comes after them is of
rounds that are done again; what is among them must be as it was written.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from fedloom.core.errors import FedloomError
from fedloom.federation.sealed import Damaged
from fedloom.federation.written import Round, Turn, checked

ROUNDS, CLIENTS = "rounds.jsonl", "clients.jsonl"
KINDS: dict[str, TypeAdapter[Any]] = {ROUNDS: TypeAdapter(Round), CLIENTS: TypeAdapter(Turn)}

COPY = "Put the file back from a copy"


def append(file: Path, rows: list[dict[str, Any]]) -> None:
    """Add lines, which are on the disk when this returns."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as opened:
        opened.writelines(json.dumps(row, allow_nan=False) + "\n" for row in rows)
        opened.flush()
        os.fsync(opened.fileno())  # a checkpoint must not be there without the lines of its round


def content(file: Path) -> bytes:
    """The bytes of a file, none where it is not there.

    Raises:
        FedloomError: it cannot be read.
    """
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise FedloomError(f"{file}: cannot be read: {error.strerror or error}. See that this user can.") from None


def read(file: Path) -> list[dict[str, Any]]:
    """The lines of a file; a last line that was cut short is passed over.

    Raises:
        FedloomError: another line is no JSON table; file and line are named.
    """
    text = content(file)
    lines = text.split(b"\n")
    return [_row(file, number, line) for number, line in enumerate(lines[:-1], start=1)]


def mark(file: Path) -> str:
    """How many bytes a file has, and their hash."""
    whole = content(file)
    return f"{len(whole)} {hashlib.sha256(whole).hexdigest()}"


def prefix(file: Path, round: int, mark: str) -> bytes:
    """The lines of a file up to a round, as they were written. ``mark``: of the checkpoint (``""``: an older one).

    Raises:
        Damaged: they are not what was written; names file and line.
    """
    whole = content(file)
    if not mark:
        return _of_old(file, round, whole)
    size = int(mark.split()[0])
    if f"{size} {hashlib.sha256(whole[:size]).hexdigest()}" == mark and len(whole) >= size:
        return whole[:size]
    told = "is not there" if not file.exists() else f"the first {size} bytes, up to round {round}, were changed"
    if file.exists() and len(whole) < size:
        told = f"line {whole.count(10) + 1}: it ends there, and {size - len(whole)} bytes more were written"
    for number, line in enumerate(whole[:size].split(b"\n")[:-1], start=1):
        try:
            checked(f"line {number}", KINDS[file.name], line.decode(errors="replace"))
        except FedloomError as error:
            told = str(error)
            break
    raise Damaged(f"{file}: {told.removesuffix('.')}.")


def _of_old(file: Path, round: int, whole: bytes) -> bytes:
    """The lines up to a round of a file that its checkpoint does not know: each is checked, and no round is missing."""
    try:
        found = list(_numbered(file, whole))
    except FedloomError as error:
        raise Damaged(str(error)) from None
    kept = [line for number, line in found if number <= round]
    if file.name == ROUNDS and [number for number, _ in found if number <= round] != [*range(1, round + 1)]:
        raise Damaged(f"{file}: it must have one line of each round from 1 to {round}.")
    return b"".join(kept)


def _numbered(file: Path, whole: bytes) -> Iterator[tuple[int, bytes]]:
    for number, line in enumerate(whole.split(b"\n")[:-1], start=1):
        row = checked(f"{file}, line {number}", KINDS[file.name], line.decode(errors="replace"))
        yield row.round, line + b"\n"


def _row(file: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict):
        raise FedloomError(f"{file}, line {number}: it is no JSON table, which every line of it is. {COPY}.")
    return row
