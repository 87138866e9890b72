"""When, how and on what a run was done: a line of ``environment.jsonl`` each time that a process takes it up."""

import os
import platform
import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from fedloom import __version__
from fedloom.core.device import device

FILE = "environment.jsonl"

OURS = ("fedloom", "fedloom.exe")
"""Names of the program whose arguments are written down; those of another one may hold its secrets."""


def environment(commit: str = "") -> dict[str, Any]:
    """The date (UTC), the command, the device and the versions of this process, and the ``commit`` of its model, where
    that is the hub's."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command(sys.argv),
        "device": _device(),
        "versions": versions(),
        **({"commit": commit} if commit else {}),
    }


def versions() -> dict[str, str]:
    """Versions that a result depends on, the drawn world's fonts among them."""
    names = ("torch", "transformers", "peft", "numpy", "pillow", "qtawesome", "iconipy")
    packages = {name: version(name) for name in names}
    return {"fedloom": __version__, "python": platform.python_version(), **packages}


def command(argv: Sequence[str]) -> str:
    """The command line of fedloom as a shell takes it; of another program its name alone."""
    program = Path(argv[0]) if argv and argv[0] else Path("python")
    if program.name in OURS or program.parts[-3:] == ("fedloom", "cli", "__main__.py"):
        return shlex.join(["fedloom", *argv[1:]])
    return "python" if program.name.startswith("-") else program.name


def _device() -> str:
    chosen = device()
    if chosen.type == "cuda":
        return f"{chosen}, {torch.cuda.get_device_name(chosen)}"
    threads = torch.get_num_threads()
    return f"{chosen}, {platform.machine()}, {os.cpu_count()} cores, {threads} thread{'s' * (threads > 1)}"
