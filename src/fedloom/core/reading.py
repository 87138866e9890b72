"""TOML and JSON that others wrote: whatever is wrong with a text is a ``ValueError``, and none takes long to refuse."""

import json
import re
import tomllib
from typing import Any, NoReturn

LEVELS = 64
"""Tables and lists that may stand one in the other. Python's own readers end in a ``RecursionError`` beyond."""

LONGEST = 1 << 22
"""Characters of the longest TOML text; Python's own reader of TOML makes 2 MB a second."""

_PART = r"""(?:[\w-]++|"(?:[^"\\\n]|\\.)*+"?+|'[^'\n]*+'?+)"""
_DOTTED = re.compile(rf"{_PART}(?:[ \t]*+\.[ \t]*+{_PART})*+", re.ASCII)
"""A dotted key, or a string or a word that could be one: each sign of a text is looked at once."""


def toml(text: str) -> dict[str, Any]:
    """The tables of a TOML text.

    Raises:
        ValueError: it is no TOML, too long or too deep, or holds an integer beyond TOML's 64 bits.
    """
    if len(text) > LONGEST:
        raise ValueError(f"{len(text)} characters are more than the {LONGEST} of any such file")
    if any(_parts(found[0]) > LEVELS for found in _DOTTED.finditer(text)):
        raise ValueError(_too_deep())  # Python's reader takes the square of the parts of a key
    try:
        found = tomllib.loads(text)
    except RecursionError:
        raise ValueError(_too_deep()) from None
    _check(found)
    return found


def json_of(text: str | bytes) -> Any:
    """What a JSON text holds.

    Raises:
        ValueError: it is no JSON, too deep, or holds a number that is none (``NaN``) or has thousands of digits.
    """
    try:
        found = json.loads(text, parse_constant=_no_number)
    except RecursionError:
        raise ValueError(_too_deep()) from None
    _check(found, integers=False)
    return found


def _parts(key: str) -> int:
    return len(re.findall(_PART, key, re.ASCII)) if key.count(".") >= LEVELS else 1


def _check(found: Any, integers: bool = True) -> None:
    """See that nothing lies too deep, and that integers have 64 bits.

    Raises:
        ValueError: it does not.
    """
    level, depth = [found], 0
    while level:
        depth += 1
        if depth > LEVELS:
            raise ValueError(_too_deep())
        if integers and any(isinstance(each, int) and not -(2**63) <= each < 2**63 for each in level):
            raise ValueError("an integer has more than 64 bits")
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]


def _too_deep() -> str:
    return f"it is nested more than {LEVELS} levels deep"


def _no_number(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")
