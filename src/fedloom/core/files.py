"""Files that are there whole or not at all, and the names that files may have."""

import hashlib
import os
import re
import unicodedata
from pathlib import Path

LONGEST_NAME = 120
"""Bytes of a name: a file system takes 255, and what stands beside a run folder has longer names."""

RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
"""Names that Windows keeps for itself."""

UNSEEN = ("Cc", "Cs", "Zl", "Zp")
"""Unicode's categories of control characters, of halves of a character, and of ends of lines."""


def name_error(text: str) -> str:
    """What keeps ``text`` from being the name of one file or folder, as ``expected`` words; empty: nothing does."""
    if "/" in text or "\\" in text:
        return "a file name, without / and \\"
    if not text or text != text.strip(" ") or text[0] == "." or text[-1] == ".":
        return "a file name that neither begins with a dot or a space nor ends in one"
    if any(unicodedata.category(sign) in UNSEEN for sign in text):
        return "a file name, without control characters"
    if RESERVED.fullmatch(text):
        return "a file name that no system keeps for itself, as Windows does this one"
    if len(text.encode()) > LONGEST_NAME:
        return f"a file name of at most {LONGEST_NAME} bytes"
    return ""


def file_name(text: str, longest: int = LONGEST_NAME) -> str:
    """``text`` as a file's name: what no name may hold becomes a dash, and a long one ends in a hash of it."""
    shown = "".join("-" if sign in "/\\" or unicodedata.category(sign) in UNSEEN else sign for sign in text)
    shown = shown.strip(". ") or "-"
    if RESERVED.fullmatch(shown):
        shown = f"-{shown}"
    if len(shown.encode()) <= longest:
        return shown
    mark = "-" + hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:10]
    return shown.encode()[: longest - len(mark)].decode(errors="ignore") + mark


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
