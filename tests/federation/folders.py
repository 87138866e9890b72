"""A run folder to do things to: clients keep control variates and the memory of error feedback."""

from pathlib import Path
from typing import Any

from fedloom import engines
from tests.federation import toy

SETS = ("method=scaffold", "channel.up=['feedback','topk:0.5']", "rounds=4")


def run(out: Path, *sets: str, **options: Any) -> dict[str, Any]:
    """Run the experiment of ``SETS``."""
    return engines.run(toy.experiment(toy.BENT, *SETS, *sets), out, **options)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder; of links where they lead."""
    files = [file for file in folder.rglob("*") if file.is_symlink() or file.is_file()]
    return {
        str(file.relative_to(folder)): str(file.readlink()).encode() if file.is_symlink() else file.read_bytes()
        for file in files
    }
