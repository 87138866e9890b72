"""What tasks that read a folder share: its parts, its JSON, its pictures, and what a broken record does.

A record that is broken raises ``ValueError`` with what is wrong; ``gather`` says where, and refuses or skips it.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from fedloom.core.contracts import IMAGE, Sample
from fedloom.core.errors import FedloomError
from fedloom.core.files import read_text
from fedloom.core.printable import in_line
from fedloom.core.reading import json_of
from fedloom.core.samples import OnBad as OnBad
from fedloom.core.samples import check_picture, check_text
from fedloom.tasks._common import LETTERS

Record = Mapping[str, Any]
T = TypeVar("T")

UNKNOWN = "unknown"
"""The value of a descriptive field that a record does not have."""


def opened(task: str, path: str | Path, parts: Sequence[str], source: str = "") -> Path:
    """The folder at ``path``, which has all ``parts``; ``source``: where its data are to be had.

    Raises:
        FedloomError: no folder given, or it lacks a part.
    """
    fix = "pass --data FOLDER." + (f" The data: {source}" if source else "")
    of = ", ".join(parts) or "folders"
    if not str(path):
        raise FedloomError(f"tasks: {task!r} reads a folder ({of}): {fix}")
    folder = Path(path)
    if not folder.is_dir():
        what = "this is a file" if folder.exists() else "there is no such folder"
        raise FedloomError(f"{folder}: {what}. Expected a folder of {of}: {fix}")
    for part in parts:
        if not (folder / part).exists():
            raise FedloomError(f"{folder}: has no {part}. Expected a folder of {', '.join(parts)}: {fix}")
    return folder


def gather(
    place: Path, records: Iterable[tuple[str, T]], make: Callable[[T], Sample], on_bad: OnBad, expected: str
) -> tuple[Sample, ...]:
    """The samples that ``make`` makes of ``records``, each of which comes with its name within ``place``.

    Raises:
        FedloomError: a broken record or one that stands twice (with ``refuse``), or no usable record.
    """
    samples: dict[str, Sample] = {}
    problems: list[str] = []
    for name, record in records:
        try:
            sample = make(record)
            if sample.id in samples:
                raise ValueError(f"{sample.id!r} has stood there before; expected each once.")
            samples[sample.id] = sample
        except (ValueError, OSError) as error:
            problems.append(f"{place}, {name}: {error}")
            if on_bad == "refuse":
                raise FedloomError(
                    f"{problems[0]} Fix or remove it, or skip broken records with --set data.on_bad=skip."
                ) from None
    if not samples:
        raise FedloomError(f"{place}: holds no usable record. Expected {expected}.")
    if problems:
        skipped = f"{len(problems)} of {len(problems) + len(samples)} records skipped"
        warnings.warn(in_line(f"{place}: {skipped}; the first: {problems[0]}"), stacklevel=2)
    return tuple(samples.values())


def apart(folder: Path, train: Sequence[Sample], test: Sequence[Sample], fix: str) -> None:
    """Refuse halves that share a record.

    Raises:
        FedloomError: naming some that stand in both, and the fix.
    """
    both = {sample.id for sample in train} & {sample.id for sample in test}
    if both:
        shown = ", ".join(sorted(both)[:5])
        raise FedloomError(f"{folder}: {len(both)} records stand in both halves ({shown}). {fix}")


@contextmanager
def blamed(file: Path) -> Iterator[None]:
    """Make what is wrong with a whole file an error that names it.

    Raises:
        FedloomError: a ``ValueError`` within.
    """
    try:
        yield
    except ValueError as error:
        raise FedloomError(f"{file}: {error}") from None


def contents(file: Path) -> str:
    """The text of a file.

    Raises:
        ValueError: it cannot be read.
    """
    try:
        return read_text(file)
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot be read as UTF-8 text: {error}.") from None


def lines(file: Path) -> Iterator[tuple[str, str]]:
    """The lines of a file that are not empty, each with its name, ``line 1`` being the first.

    Raises:
        FedloomError: it cannot be read.
    """
    with blamed(file):
        found = contents(file).split("\n")
    return ((f"line {number}", line) for number, line in enumerate(found, start=1) if line.strip())


def entries(file: Path, expected: str) -> Iterator[tuple[str, Any]]:
    """The entries of a JSON list, each with its name, ``entry 1`` being the first; ``expected`` says of what.

    Raises:
        FedloomError: the file cannot be read, or holds no JSON list.
    """
    with blamed(file):
        text = contents(file)
        try:
            found = json_of(text)
        except ValueError as error:
            raise ValueError(f"not valid JSON: {error}.") from None
        if not isinstance(found, list):
            raise ValueError(f"expected a JSON list {expected}, found {text.strip()[:40]!r}.")
    return ((f"entry {number}", entry) for number, entry in enumerate(found, start=1))


def parsed(text: str, expected: str) -> Record:
    """The JSON object that a text holds; ``expected`` says of what.

    Raises:
        ValueError: no JSON, or no object.
    """
    try:
        record = json_of(text)
    except ValueError as error:
        raise ValueError(f"not valid JSON: {error}.") from None
    if not isinstance(record, dict):
        raise ValueError(f"expected a JSON object {expected}, found {text.strip()[:40]!r}.")
    return record


def words(record: Record, field: str) -> str:
    """A field that must hold text.

    Raises:
        ValueError: it does not, or the text would be taken for a picture's place in a prompt.
    """
    return _words(f"field {field!r}", record.get(field))


def said(record: Record, field: str) -> str:
    """A field that must hold text or a number, which is taken as JSON writes it.

    Raises:
        ValueError: it does not.
    """
    value = record.get(field)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return str(value) if number else words(record, field).strip()


def choices(record: Record) -> tuple[str, ...]:
    """The field ``choices``: 2 to 5 texts.

    Raises:
        ValueError: it is anything else.
    """
    found = record.get("choices")
    if not isinstance(found, list) or not 2 <= len(found) <= len(LETTERS):
        raise ValueError(f"field 'choices' is {found!r}; expected 2 to {len(LETTERS)} texts.")
    return tuple(_words(f"choice {index}", choice) for index, choice in enumerate(found))


def index(record: Record, among: int) -> int:
    """The field ``answer``: a number, perhaps as text, that counts the choices from 0.

    Raises:
        ValueError: it is none, or there are not so many choices.
    """
    answer = record.get("answer")
    number = int(answer) if isinstance(answer, str) and answer.isdecimal() else answer
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < among:
        raise ValueError(f"field 'answer' is {answer!r}; expected a number from 0 to {among - 1}, a choice's.")
    return number


def described(record: Record, *fields: str) -> dict[str, str]:
    """Fields that scenarios partition by; one that is missing or empty is ``unknown``, and breaks no record.

    Raises:
        ValueError: one holds half a character.
    """
    found = {field: str(record.get(field) or UNKNOWN) for field in fields}
    for field, value in found.items():
        check_text(f"field {field!r}", value)
    return found


def picture(folder: Path, *names: str) -> Path:
    """The file of a picture below ``folder``, found whole; it stays on disk until it is needed.

    Raises:
        ValueError: a name that leads elsewhere, or no picture.
    """
    path = folder.joinpath(*names)
    for name in names:
        if Path(name).name != name or name == "..":
            raise ValueError(f"image {path}: expected the name of a file in {folder}, not {name!r}.")
    check_picture(path)
    return path


def _words(what: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{what} is {value!r}; expected text.")
    check_text(what, value)
    if IMAGE in value:
        raise ValueError(f"{what} holds {IMAGE!r}, which stands for a picture in a prompt; expected other words.")
    return value
