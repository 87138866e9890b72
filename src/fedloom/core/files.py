"""Files that are there whole or not at all, text with or without a byte order mark, and names that can be files'."""

import hashlib
import os
import re
import secrets
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from fedloom.core.printable import in_line

SECRET, ORDINARY, PROGRAM = 0o600, 0o666, 0o777
"""Modes of ``write_atomic``: a file that is its owner's alone, one like any other, and one that can be run."""

NAME_BYTES = 120
"""The longest name that ``file_name`` gives: file systems take 255 bytes, encrypted ones 143, and names get endings."""

_PLAIN = re.compile(r"\w[\w.,+=@-]*")
_OTHER = re.compile(r"[^\w.,+=@-]+")
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)
"""What Windows keeps for its devices, whatever ending it has."""

_AS_IT_IS = getattr(os, "O_BINARY", 0)
"""Windows would write two bytes for the end of a line."""

_SITE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def write_atomic(target: Path, content: bytes, mode: int = ORDINARY) -> None:
    """Write a file so that it is there whole or not at all, also after a power cut.

    It has ``mode``, less what the umask takes, from its first byte on. Nothing that lies in the folder already is
    written through: what is a link is replaced, and the half file has a name that nobody can know before.

    Raises:
        OSError: the disk is full or not writable; the target is as it was.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _AS_IT_IS, mode)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    _settle(target.parent)


def _settle(folder: Path) -> None:
    """Have the disk know which files a folder holds, where the system and the disk can."""
    with suppress(OSError, AttributeError):  # Windows opens no folder; some file systems cannot: the file is whole
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def read_text(file: Path) -> str:
    """The text of a UTF-8 file, without the byte order mark that some editors write before it.

    Raises:
        OSError: it cannot be read.
        UnicodeDecodeError: it is no UTF-8.
    """
    return file.read_text(encoding="utf-8-sig")


def on_disk(text: str) -> Path | None:
    """The file or folder that ``text`` names, a user's own folder as ``~``; ``None``: there is none, or none can be, as
    where it is longer than names are."""
    try:
        found = Path(text).expanduser()
        return found if found.exists() else None
    except (OSError, ValueError, RuntimeError):
        return None


def is_folder(text: str) -> bool:
    """Whether ``text`` names a folder that is there."""
    found = on_disk(text)
    return found is not None and found.is_dir()


def name_error(text: str) -> str:
    """What keeps ``text`` from being the name of one file or folder, as ``expected`` words; empty: nothing does."""
    if "/" in text or "\\" in text:
        return "a file name, without / and \\"
    if not text or text != text.strip(" ") or text[0] == "." or text[-1] == ".":
        return "a file name that neither begins with a dot or a space nor ends in one"
    if "\t" in text or in_line(text) != text:
        return "a file name, without control characters"
    if _RESERVED.fullmatch(text):
        return "a file name that no system keeps for itself, as Windows does this one"
    if len(text.encode()) > NAME_BYTES:
        return f"a file name of at most {NAME_BYTES} bytes"
    return ""


def site_error(text: str) -> str:
    """What keeps ``text`` from being a site's name, as ``expected`` words; empty: nothing does.

    It is one of files and folders, of a key and a certificate (64 letters), of services, and a word of their commands.
    """
    if _SITE.fullmatch(text) and not name_error(text):
        return ""
    return "up to 64 letters without accents, digits, '.', '_' and '-', the first a letter or a digit, the last no dot"


def sites_error(names: Sequence[str]) -> str:
    """What keeps texts from being the names of different sites, as a sentence; empty: nothing does."""
    for name in names:
        if wrong := site_error(name):
            return f"site {name!r}: the name is also one of files, keys and services. Fix: {wrong}."
    alike = sorted(name for name in set(names) if sum(name.lower() == other.lower() for other in names) > 1)
    return f"sites {', '.join(alike)}: expected names that differ, and not in case alone." if alike else ""


def file_name(text: str, limit: int = NAME_BYTES) -> str:
    """A name that a file or folder can have on any system, a different one for every text.

    A text that is such a name stays as it is: letters and digits of any script, and ``_ . , + = @ -`` after the first.
    Any other is cut to what of it can stand, with ``~`` and a hash of the whole text at its end, which no text that
    stays as it is can have. Texts that differ in case alone get names that differ in case alone.

    Args:
        text: what is to be named: a client, a group of examples, a list of choices.
        limit: the most bytes (in UTF-8) of the name, at least 24.

    Returns:
        The name, for example ``lucide``, ``lr=0.01``, or ``a-b~c14cddc033f64b9d`` for ``a/b``.
    """
    as_it_is = (
        _PLAIN.fullmatch(text)
        and len(text.encode()) <= limit
        and not text.endswith(".")
        and not _RESERVED.fullmatch(text)
        and unicodedata.is_normalized("NFC", text)  # some file systems take equal letters for one name
    )
    if as_it_is:
        return text
    mark = "~" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    plain = _OTHER.sub("-", unicodedata.normalize("NFC", text)).strip("-.")
    plain = f"_{plain}" if _RESERVED.fullmatch(plain) else plain
    return plain.encode()[: limit - len(mark)].decode(errors="ignore") + mark
