"""What clients keep between their turns: control variates, personal adapters, error feedback; on disk, by round."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from fedloom.core import wire
from fedloom.core.contracts import Parcel, Tree
from fedloom.core.files import file_name, write_atomic

MAX_KEPT = 16 * 2**30
LONGEST = 255
"""Bytes of the longest name that file systems take."""

VERSIONS = 3
"""Turns kept of each client: the two that the two checkpoints go with, and that of the round under way."""


@dataclass(frozen=True)
class Kept:
    """A folder with a folder a client; every turn that keeps something writes one file, named after its round.

    Folders are named by ``file_name``; those that older runs named by ``quote`` are gone on with.
    """

    folder: Path

    def read(self, client: str, before: int) -> dict[str, Tree]:
        """What the client kept in its latest turn before round ``before``, slot by slot; empty at first."""
        found = [file for file in self._files(client) if int(file.stem) < before]
        return wire.unpack(found[-1].read_bytes(), max_bytes=MAX_KEPT).trees if found else {}

    def write(self, client: str, round: int, trees: dict[str, Tree]) -> None:
        """Keep ``trees`` from round ``round`` on (nothing is written for an empty dict)."""
        if not trees:
            return
        target = self._of(client) / f"{round:06d}.safetensors"
        write_atomic(target, wire.pack(Parcel(trees)))
        earlier = [file for file in self._files(client) if int(file.stem) <= round]
        for file in earlier[:-VERSIONS]:
            file.unlink()

    def forget(self, client: str, round: int) -> None:
        """Drop what a client kept from a turn that does not count."""
        (self._of(client) / f"{round:06d}.safetensors").unlink(missing_ok=True)

    def forget_after(self, round: int) -> None:
        """Drop what later rounds kept: a resumed run does them again."""
        for file in self.folder.glob("*/*.safetensors"):
            if int(file.stem) > round:
                file.unlink()

    def keep_until(self, client: str, round: int) -> None:
        """Drop what a client kept in turns after round ``round``: they do not count."""
        for file in self._files(client):
            if int(file.stem) > round:
                file.unlink()

    def _of(self, client: str) -> Path:
        former = quote(client, safe="", errors="replace")
        if len(former) <= LONGEST and (self.folder / former).is_dir():
            return self.folder / former
        return self.folder / file_name(client)

    def _files(self, client: str) -> list[Path]:
        return sorted(self._of(client).glob("*.safetensors"))
