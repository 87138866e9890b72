"""From folders on a command line to a page: one run, several side by side, or a comparison."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from fedloom.core.errors import FedloomError
from fedloom.report import comparison, lines, outcome
from fedloom.report.page import page
from fedloom.report.runs import read

LONGEST = 120
"""Bytes that the names of several runs may take in a page's name; a file's name has 255."""


def report(folders: Sequence[Path], out: Path | None = None) -> Path:
    """Write the page about ``folders`` and return where it is. By default one run's page, or one comparison's, is the
    ``report.html`` in its folder; a page about several runs is none of theirs, and lies beside the first.

    Raises:
        FedloomError: no folders; one that is missing, or holds neither a run nor a comparison; a comparison among
            several folders; ``out`` is a folder.
    """
    if not folders:
        raise FedloomError("report: no run folder given; expected one or more, such as runs/quickstart.")
    folders = list({folder.resolve(): folder for folder in reversed(folders)}.values())[::-1]  # each once
    comparisons = [folder for folder in folders if _is_comparison(folder)]
    if comparisons and len(folders) > 1:
        raise FedloomError(
            f"{comparisons[0]} is the folder of a comparison; it has a page of its own. Report it alone, or name the "
            f"runs in {comparisons[0] / 'cells'}."
        )
    out = out or default(folders)
    if out.is_dir():
        raise FedloomError(f"--out {out} is a folder; expected the page's file, such as {out / 'report.html'}.")
    if comparisons and ((folders[0] / outcome.FILE).is_file() or not _cells(folders[0])):
        comparison.page(folders[0], out)
    elif comparisons:  # of an older release, which kept no list of them
        page(_cells(folders[0]), out)
    else:
        page(with_bounds(folders[0]) if len(folders) == 1 else folders, out)
    return out


def _cells(folder: Path) -> list[Path]:
    """The runs of a comparison that have begun."""
    return sorted(file.parent for file in (folder / "cells").glob("*/*/config.toml"))


def with_bounds(folder: Path) -> list[Path]:
    """A run's folder, and those beside it of the bounds that ``fedloom run --bounds`` ran for it, as far as these are
    finished and are of the same data and model."""
    beside = [folder.with_name(f"{folder.name}-{bound}") for bound in lines.BOUNDS]
    there = {one: read(one) for one in [folder, *beside] if one == folder or (one / "result.json").is_file()}
    bounding = lines.bounds(list(there.values()))
    return [folder, *(one for one in beside if one in there and there[one] in bounding)]


def default(folders: Sequence[Path]) -> Path:
    """Where a page lies when nobody says: ``A/report.html``, ``report-A-vs-B.html`` beside A."""
    if len(folders) == 1:
        return folders[0] / "report.html"
    names = "-vs-".join(folder.resolve().name for folder in folders)
    if len(names.encode()) > LONGEST:
        whole = "\n".join(str(folder.resolve()) for folder in folders)
        names = f"{len(folders)}-runs-{hashlib.sha256(whole.encode()).hexdigest()[:8]}"
    return folders[0].parent / f"report-{names}.html"


def _is_comparison(folder: Path) -> bool:
    """Whether ``fedloom compare`` made the folder.

    Raises:
        FedloomError: the folder is missing, or is neither a run's nor a comparison's.
    """
    if not folder.exists():
        raise FedloomError(f"{folder}: there is no such run folder; `fedloom run` makes one under runs/.")
    if not folder.is_dir():
        raise FedloomError(f"{folder} is a file; expected a run folder, such as {folder.parent}.")
    if any((folder / name).exists() for name in ("config.toml", "result.json", "rounds.jsonl")):
        return False
    if (folder / outcome.FILE).is_file() or (folder / "cells").is_dir():
        return True
    held = sorted(file.parent for file in folder.glob("*/config.toml"))
    inside = f" It holds run folders: {', '.join(map(str, held[:3]))}; name them." if held else ""
    raise FedloomError(
        f"{folder} is no run folder: there is no config.toml in it, which every run begins with.{inside}"
    )
