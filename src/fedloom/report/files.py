"""Reading the files of a run folder: each error names the file, the line and the key."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter

from fedloom.core.errors import FedloomError
from fedloom.core.files import read_text
from fedloom.federation import sums
from fedloom.federation.rows import CLIENTS, COPY, ROUNDS
from fedloom.federation.written import AGAIN, KINDS, Round, Turn, checked

T = TypeVar("T")


def text(path: Path) -> str:
    """The text of a file.

    Raises:
        FedloomError: it is missing or not text.
    """
    try:
        return read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        raise FedloomError(f"{path}: cannot be read: {error}. Is {path.parent} the folder of a run?") from None


def whole(path: Path, kind: TypeAdapter[T]) -> T:
    """What a JSON file holds.

    Raises:
        FedloomError: it is missing, or not what was written; says the way out.
    """
    try:
        return checked(path, kind, text(path))
    except FedloomError as error:
        raise FedloomError(f"{error} {AGAIN}") from None


def whole_files(folder: Path) -> None:
    """Check that the files of a finished run are what was written, where its folder tells.

    Raises:
        FedloomError: naming the first that is not, and the way out.
    """
    for file in sums.changed(folder, [*sums.LINES, *KINDS]):
        told = f"{COPY}." if file.name in sums.LINES else AGAIN
        raise FedloomError(f"{file} is not what was written: its hash tells. {told}")


def whole_lines(folder: Path, rounds: Sequence[Round], turns: Sequence[Turn]) -> None:
    """Check that no line is missing between those of a run: neither a round's, nor a turn's that it counted.

    Raises:
        FedloomError: naming the file and the round.
    """
    counted = {(one.round, one.client) for one in turns if not one.error}
    for number, one in enumerate(rounds, start=1):
        if one.round != number:
            raise FedloomError(f"{folder / ROUNDS}, line {number}: it is of round {one.round}. {COPY}.")
        if missing := [name for name in one.clients if (number, name) not in counted]:
            told = f"the turn of client {missing[0]!r} in round {number}, which counted, is missing"
            raise FedloomError(f"{folder / CLIENTS}: {told}. {COPY}.")


def lines(path: Path, kind: TypeAdapter[T], complete: bool) -> list[T]:
    """The lines of a file; of one that need not be ``complete`` a last line that was cut short is passed over, and all
    of it may be missing."""
    if not complete and not path.exists():
        return []
    found = text(path)
    rows = found.splitlines()
    if not complete and rows and not found.endswith("\n"):
        rows.pop()
    try:
        return [checked(f"{path}, line {number}", kind, line) for number, line in enumerate(rows, start=1)]
    except FedloomError as error:
        raise FedloomError(f"{error} {COPY}.") from None
