"""Names for places of adapters, which stand in a file: ``adapter.where = ["qformer-self"]``."""

import tomllib
from collections.abc import Iterable
from functools import cache
from pathlib import Path


@cache
def placements() -> dict[str, tuple[str, ...]]:
    """The globs that each name stands for."""
    text = Path(__file__).with_name("placements.toml").read_text(encoding="utf-8")
    found: dict[str, tuple[str, ...]] = {}
    for name, parts in tomllib.loads(text).items():
        found[name] = tuple(dict.fromkeys(glob for part in parts for glob in found.get(part, (part,))))
    return found


def expanded(where: Iterable[str]) -> tuple[str, ...]:
    """Components and globs, names replaced by what they stand for, each once."""
    known = placements()
    return tuple(dict.fromkeys(glob for each in where for glob in known.get(each, (each,))))
