"""A text as one word of each kind of file that a consortium's folder has, whatever stands in it.

All texts are of one line and without control characters: ``folder.of_sites`` lets in no others.
"""

import json
import re
from collections.abc import Sequence
from typing import Any

_PLAIN = re.compile(r"[A-Za-z0-9_./:=@,+-]+")
_UNIT = str.maketrans({"\\": "\\\\", '"': '\\"', "%": "%%", "$": "$$"})


def toml(value: Any) -> str:
    """A text, number, list or table as TOML (and, but for a table, as YAML) in one line."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{toml(key)} = {toml(each)}" for key, each in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False)


def unit(command: Sequence[str]) -> str:
    """A command as ``ExecStart=`` of a systemd unit: no specifier, no variable, and each word one word."""
    return " ".join(word if _PLAIN.fullmatch(word) else f'"{word.translate(_UNIT)}"' for word in command)


def compose(command: Sequence[str]) -> str:
    """A command as YAML of a compose file, which puts nothing in the place of what looks like a variable."""
    return toml([word.replace("$", "$$") for word in command])


def code(text: str) -> str:
    """A text as code within a line of Markdown."""
    ticks = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    space = " " if "`" in text else ""
    return f"{ticks}{space}{text}{space}{ticks}"
