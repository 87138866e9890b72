"""From the name of an experiment, a file or a preset, to its tables as written, over those that it is ``like``."""

import re
from pathlib import Path
from typing import Any

from fedloom.core import reading
from fedloom.core.errors import FedloomError, nearest
from fedloom.core.files import is_folder, on_disk, read_text
from fedloom.core.keys import CHOICE, FREE
from fedloom.core.table import spelled

PRESETS = Path(__file__).parent.parent / "presets"
COMPARE = "compare"
"""The table that an experiment file may have beside the experiment."""
LIKE = "like"
OWN = ("name", COMPARE)
"""What a file does not take from the one that it is like."""


def presets() -> list[str]:
    """The names of the experiments that ship."""
    return sorted(path.stem for path in PRESETS.glob("*.toml"))


def about(preset: str) -> str:
    """What a preset is, in a line: the first of its file."""
    return (PRESETS / f"{preset}.toml").read_text(encoding="utf-8").split("\n", 1)[0].lstrip("# ")


def experiment(source: str | Path) -> dict[str, Any]:
    """The tables of an experiment file or preset over those of the one that it is ``like``, if any.

    An axis that names another choice than the one below it takes none of that choice's options.

    Raises:
        FedloomError: no such file or preset, not TOML, or files that are like each other in a ring.
    """
    return _resolved(locate(source), ())


def _resolved(path: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    """The tables of ``path``, which those ``above`` are like, one by one."""
    raw = read(path)
    like = raw.pop(LIKE, "")
    if not isinstance(like, str):
        raise FedloomError(f"{path}: like = {like!r}: expected the name of a preset or a file.")
    if not like:
        return raw
    seen, other = (*above, path.resolve()), locate(like, path)
    if other.resolve() in seen:
        raise FedloomError(f"{path}: like = {like!r} comes back to where it began. Leave it out of one of the files.")
    below = {key: value for key, value in _resolved(other, seen).items() if key not in OWN}
    return over(_without_options(below, raw), raw)


def comparison(source: str | Path) -> dict[str, Any]:
    """The table [compare] of an experiment file or preset over that which it is ``like``, if any; empty where there is
    none.

    Raises:
        FedloomError: as ``experiment``, or the other has none.
    """
    path = locate(source)
    table = read(path).get(COMPARE, {})
    if not isinstance(table, dict) or not isinstance(like := table.get(LIKE), str) or not like:
        return table  # type: ignore[no-any-return]
    other = read(locate(like, path)).get(COMPARE, {})
    if not isinstance(other, dict) or not other or other.get(LIKE):
        raise FedloomError(
            f"{source}: compare.like = {like!r} has no [compare] of its own. Fix: name a file or preset that has."
        )
    return over(other, table)


def over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Tables put over others: keys of ``above`` replace those of ``below``, table by table."""
    tables = {key: over(below[key], value) for key, value in above.items() if _both_tables(below.get(key), value)}
    return {**below, **above, **tables}


def read(path: Path) -> dict[str, Any]:
    """The tables of a file.

    Raises:
        FedloomError: it cannot be read, or is not TOML.
    """
    try:
        text = read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        raise FedloomError(f"{path}: cannot be read as an experiment file: {error}.") from None
    try:
        return reading.toml(text)
    except ValueError as error:
        raise FedloomError(f"{path}: not valid TOML: {error}.") from None


def locate(source: str | Path, beside: Path | None = None) -> Path:
    """The file of an experiment or preset. ``beside``: the file that names it, in whose folder it may lie.

    Raises:
        FedloomError: there is no such preset.
    """
    path = Path(source)
    if beside and path.suffix == ".toml" and (beside.parent / path).is_file():
        return beside.parent / path
    name = re.sub("[/_]", "-", str(source))
    if path.suffix == ".toml" or (on_disk(str(source)) and not (name in presets() and is_folder(str(source)))):
        return path
    if name not in presets():
        raise FedloomError(f"{source}: no such experiment file, and no preset of that name. {nearest(name, presets())}")
    return PRESETS / f"{name}.toml"


def bare(table: dict[str, Any], axis: str) -> dict[str, Any]:
    """An axis table without the options of its choice."""
    own = [spelled(field) for field in FREE[axis].model_fields] if axis in FREE else list(table)
    return {key: value for key, value in table.items() if key in own}


def _without_options(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """``below`` without the options of choices that ``above`` makes anew."""
    found = dict(below)
    for axis, key in CHOICE.items():
        old, new = below.get(axis, {}), above.get(axis, {})
        if _both_tables(old, new) and key in new and new[key] != old.get(key):
            found[axis] = bare(old, axis)
    return found


def _both_tables(*values: Any) -> bool:
    return all(isinstance(value, dict) for value in values)
