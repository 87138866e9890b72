"""What the files of a finished run were: ``SHA256SUMS``, which the command ``sha256sum -c`` reads as well.

Checkpoints and client states have seals of their own; of an adapter's folder the weights are listed.
"""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from fedloom.core.files import write_atomic
from fedloom.federation import rows, written

FILE = "SHA256SUMS"
LINES = (rows.ROUNDS, rows.CLIENTS)
WEIGHTS = r"adapter/(?:clients/[^/.][^/]*/)?[^/]+\.safetensors"
_LINE = re.compile(rf"([0-9a-f]{{64}})  ({'|'.join(map(re.escape, [*LINES, *written.KINDS]))}|{WEIGHTS})")
"""A line of the list: nothing that it names lies outside the run folder."""


def write(folder: Path, result: bytes) -> None:
    """List what is in the folder, and a ``result.json`` that is about to be written."""
    names = [name for name in (*LINES, *written.KINDS) if name != "result.json"]
    files = [folder / name for name in names] + sorted(folder.glob("adapter/**/*.safetensors"))
    found = {file.relative_to(folder).as_posix(): file.read_bytes() for file in files if file.is_file()}
    listed = {name: hashlib.sha256(blob).hexdigest() for name, blob in {**found, "result.json": result}.items()}
    write_atomic(folder / FILE, "".join(f"{mark}  {name}\n" for name, mark in listed.items()).encode())


def changed(folder: Path, names: Sequence[str] = ()) -> list[Path]:
    """The files, of ``names`` alone where these are given, that are there and are not what the list says; the list
    itself where it is none. Where there is no list, as in folders of older releases, nothing is known.

    Raises:
        FedloomError: a file cannot be read.
    """
    listed = _listed(folder)
    if listed is None:
        return [folder / FILE]
    wanted = [(mark, folder / name) for name, mark in listed.items() if not names or name in names]
    return [file for mark, file in wanted if file.exists() and hashlib.sha256(rows.content(file)).hexdigest() != mark]


def gone(folder: Path) -> list[Path]:
    """The files that the list names and that are no longer there.

    Raises:
        FedloomError: the list cannot be read.
    """
    return [folder / name for name in _listed(folder) or {} if not (folder / name).exists()]


def _listed(folder: Path) -> dict[str, str] | None:
    """The hash of each file that the list names; ``None`` where it is no list."""
    text = rows.content(folder / FILE).decode(errors="replace")
    lines = [_LINE.fullmatch(line) for line in text.split("\n")[:-1]]
    listed = {line[2]: line[1] for line in lines if line}
    return None if len(listed) < len(lines) or (text and not text.endswith("\n")) else listed
