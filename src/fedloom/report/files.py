"""Reading the files of a run folder: each error names the file, the line and the key."""

from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from fedloom.core.errors import FedloomError
from fedloom.core.files import read_text

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
    """What a JSON file holds."""
    return checked(path, kind, text(path))


def lines(path: Path, kind: TypeAdapter[T], complete: bool) -> list[T]:
    """The lines of a file; of one that need not be ``complete`` a last line that was cut short is passed over, and all
    of it may be missing."""
    if not complete and not path.exists():
        return []
    found = text(path)
    rows = found.splitlines()
    if not complete and rows and not found.endswith("\n"):
        rows.pop()
    return [checked(f"{path}, line {number}", kind, line) for number, line in enumerate(rows, start=1)]


def checked(place: Path | str, kind: TypeAdapter[T], raw: str) -> T:
    """A JSON text as a record.

    Raises:
        FedloomError: it is none, or not of this kind; ``place`` and the key are named.
    """
    try:
        return kind.validate_json(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise FedloomError(f"{place}: {where}: {first['msg']}; expected what `fedloom run` writes.") from None
