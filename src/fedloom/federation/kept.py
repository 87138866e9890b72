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

    ``counted`` is the last round in which a client's turn counted (0: none). What it kept in later turns is void:
    nobody reads it, and the client's next turn drops it.
    Folders are named by ``file_name``; those that older runs named by ``quote`` are gone on with.
    """

    folder: Path

    def read(self, client: str, counted: int, *, must: bool = False) -> dict[str, Tree]:
        """What the client kept in its latest turn up to that of round ``counted``, slot by slot; empty at first.
        ``must``: whether something of round ``counted`` itself has to be there.

        Raises:
            FedloomError: it is damaged, or gone, or cannot be read.
        """
        found = [round for round in self._rounds(self._of(client)) if round <= counted]
        if must and counted and counted not in found:
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

    def write(self, client: str, round: int, trees: dict[str, Tree], counted: int) -> None:
        """Keep ``trees`` from the turn of round ``round`` (nothing is written for an empty dict); drop what is void,
        and what is too old to be gone back to."""
        if not trees:
            return
        sealed.write(self.file(client, round), Parcel(trees, {"client": client, "round": round}))
        others = [each for each in self._rounds(self._of(client)) if each != round]
        counts = [each for each in others if each <= counted][1 - VERSIONS :]
        for old in set(others).difference(counts):
            self.file(client, old).unlink()

    def after(self, round: int) -> list[Path]:
        """The files of turns after a round, of all clients."""
        folders = self.folder.iterdir() if self.folder.is_dir() else ()
        return [folder / _name(each) for folder in folders for each in self._rounds(folder) if each > round]

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
