"""What clients keep between their turns: control variates, personal adapters, error feedback; on disk, by round."""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from fedloom.core.contracts import Parcel, Tree
from fedloom.core.errors import FedloomError
from fedloom.core.files import file_name
from fedloom.federation import sealed
from fedloom.federation.sealed import Damaged

NAME = re.compile(r"(\d{6,18})\.safetensors")
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

    def read(self, client: str, before: int, counted: int = 0) -> dict[str, Tree]:
        """What the client kept in its latest turn before round ``before``, slot by slot; empty at first. ``counted``:
        a round from which something must be there (0: none).

        Raises:
            FedloomError: it is damaged, or gone, or cannot be read.
        """
        found = [round for round in self._rounds(self._of(client)) if round < before]
        if counted and counted not in found:
            raise FedloomError(
                f"client {client!r}: {self.file(client, counted)}, what it kept in round {counted}, is missing. Put it "
                "back from a copy, or begin a new run."
            )
        if not found:
            return {}
        try:
            return self.state(client, found[-1])[0]
        except Damaged as error:
            raise FedloomError(f"{error} Put it back from a copy, or begin a new run.") from None

    def state(self, client: str, round: int) -> tuple[dict[str, Tree], str]:
        """What the client kept in the turn of a round, and its seal.

        Raises:
            Damaged: it is not there, or not what was written.
            FedloomError: it cannot be read.
        """
        file = self.file(client, round)
        try:
            parcel, mark = sealed.read(file)
        except FileNotFoundError:
            raise Damaged(f"client {client!r}: {file}, what it kept in round {round}, is missing.") from None
        except FedloomError as error:
            raise type(error)(f"client {client!r}: {error}") from None
        if parcel.facts != ({"client": client, "round": round} if mark else {}):
            raise Damaged(f"client {client!r}: {file} is damaged: it is not what this client kept in round {round}.")
        return parcel.trees, mark

    def seal(self, client: str, round: int) -> str:
        """The seal of what a client kept in the turn of a round, as its file says; ``""``: it kept nothing."""
        file = self.file(client, round)
        return sealed.told(file) if file.exists() else ""

    def write(self, client: str, round: int, trees: dict[str, Tree]) -> None:
        """Keep ``trees`` from round ``round`` on (nothing is written for an empty dict)."""
        if not trees:
            return
        sealed.write(self.file(client, round), Parcel(trees, {"client": client, "round": round}))
        for old in [each for each in self._rounds(self._of(client)) if each <= round][:-VERSIONS]:
            self.file(client, old).unlink()

    def forget(self, client: str, round: int) -> None:
        """Drop what a client kept from a turn that does not count."""
        self.file(client, round).unlink(missing_ok=True)

    def after(self, round: int) -> list[Path]:
        """The files of turns after a round, of all clients."""
        folders = self.folder.iterdir() if self.folder.is_dir() else ()
        return [folder / _name(each) for folder in folders for each in self._rounds(folder) if each > round]

    def keep_until(self, client: str, round: int) -> None:
        """Drop what a client kept in turns after round ``round``: they do not count."""
        for later in [each for each in self._rounds(self._of(client)) if each > round]:
            self.file(client, later).unlink()

    def file(self, client: str, round: int) -> Path:
        """Where what a client kept in the turn of a round is."""
        return self._of(client) / _name(round)

    def _of(self, client: str) -> Path:
        former = quote(client, safe="", errors="replace")
        if len(former) <= LONGEST and (self.folder / former).is_dir():
            return self.folder / former
        return self.folder / file_name(client)

    def _rounds(self, folder: Path) -> list[int]:
        """The rounds that a client's folder has a file of; files of other names are nobody's business here."""
        names = [match for file in folder.glob("*.safetensors") if (match := NAME.fullmatch(file.name))]
        return sorted(int(match[1]) for match in names if match[0] == _name(int(match[1])))


def _name(round: int) -> str:
    return f"{round:06d}.safetensors"
