"""Reading the files of a run folder: each error names the file, the line and the key."""

from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter

from fedloom.core.errors import FedloomError
from fedloom.core.files import read_text
from fedloom.federation.rows import COPY
from fedloom.federation.written import AGAIN, checked

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
