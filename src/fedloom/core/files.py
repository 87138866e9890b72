"""Files that are there whole or not at all, text with or without a byte order mark, and names that can be files'."""

import hashlib
import os
import re
import unicodedata
from pathlib import Path

NAME_BYTES = 120
"""The longest name that ``file_name`` gives: file systems take 255 bytes, encrypted ones 143, and names get endings."""

_PLAIN = re.compile(r"\w[\w.,+=@-]*")
_OTHER = re.compile(r"[^\w.,+=@-]+")
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)
"""What Windows keeps for its devices, whatever ending it has."""

_UNSEEN = ("Cc", "Cs", "Zl", "Zp")
"""Unicode's categories of control characters, of halves of a character, and of ends of lines."""


def write_atomic(target: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, also after a power cut.

    Raises:
        OSError: the disk is full or not writable; the target is as it was.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def read_text(file: Path) -> str:
    """The text of a UTF-8 file, without the byte order mark that some editors write before it.

    Raises:
        OSError: it cannot be read.
        UnicodeDecodeError: it is no UTF-8.
    """
    return file.read_text(encoding="utf-8-sig")


def name_error(text: str) -> str:
    """What keeps ``text`` from being the name of one file or folder, as ``expected`` words; empty: nothing does."""
    if "/" in text or "\\" in text:
        return "a file name, without / and \\"
    if not text or text != text.strip(" ") or text[0] == "." or text[-1] == ".":
        return "a file name that neither begins with a dot or a space nor ends in one"
    if any(unicodedata.category(sign) in _UNSEEN for sign in text):
        return "a file name, without control characters"
    if _RESERVED.fullmatch(text):
        return "a file name that no system keeps for itself, as Windows does this one"
    if len(text.encode()) > NAME_BYTES:
        return f"a file name of at most {NAME_BYTES} bytes"
    return ""


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
