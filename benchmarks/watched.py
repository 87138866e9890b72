"""The processes of a benchmark's cell while it runs: their peaks of memory, and the notes that they make."""

import json
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import Any

import psutil

from fedloom.core import memory
from fedloom.core.errors import FedloomError
from fedloom.deploy.process import Process

LOOK = 0.2
"""Seconds between two looks."""

PATIENCE = 240.0
"""Seconds without a new round after which a cell has failed."""


class Watched:
    """Watches everything that runs under this process. ``notes``: the file to which the cell's processes write, a line
    each, that they loaded a model, that the first round begins, and that a round's replies are merged."""

    def __init__(self, notes: Path, rounds: int) -> None:
        self.notes, self.rounds = notes, rounds
        self.begun = time.monotonic()
        self.peaks: dict[psutil.Process, int] = {}
        self.names: dict[psutil.Process, str] = {}

    def lines(self, what: str) -> list[dict[str, Any]]:
        """The notes of one kind (``"load"`` or ``"round"``), as far as they are written."""
        text = self.notes.read_text(encoding="utf-8") if self.notes.exists() else ""
        return [line for line in map(json.loads, text.split("\n")[:-1]) if line["what"] == what]

    @property
    def server(self) -> int:
        """The process of the round loop."""
        return int(self.lines("round")[0]["process"])

    def look(self) -> None:
        """Keep the peak of every process that runs now."""
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                peak = max(memory.peak(process.pid), process.memory_info().rss)
                self.peaks[process] = max(peak, self.peaks.get(process, 0))
                self.names[process] = process.name()

    def until_done(self, parts: Sequence[Process]) -> None:
        """Wait for the last round, and at most 15 s more for the server to end by itself.

        Raises:
            FedloomError: one of ``parts`` ended, or nothing more came; with the ends of their logs.
        """
        said, since = 0, time.monotonic()
        while True:
            alive = all(part.alive for part in parts)
            found = len(self.lines("round"))
            if found > self.rounds:
                break
            if found > said:
                said, since = found, time.monotonic()
            if not alive or time.monotonic() - since > PATIENCE:
                ends = "\n".join(f"{part.log}:\n{part.tail()}" for part in parts)
                raise FedloomError(f"{max(0, said - 1)} of {self.rounds} rounds were done, then no more.\n{ends}")
            self.look()
            time.sleep(LOOK)
        until = time.monotonic() + 15
        while _runs(self.server) and time.monotonic() < until:
            self.look()
            time.sleep(LOOK)

    def end(self) -> None:
        """End what is left of the processes that were seen; never another one that has got the same id."""
        for process in self.peaks:
            with suppress(psutil.Error):
                process.kill()

    def figures(self, clients: int) -> dict[str, Any]:
        """What was measured: seconds, bytes, and how many times a model was loaded.

        Raises:
            FedloomError: not every client's reply counted in every round.
        """
        rounds = self.lines("round")
        short = [line["round"] for line in rounds[1:] if line.get("replies", clients) != clients]
        if short:
            raise FedloomError(f"rounds {short}: not all {clients} clients answered.")
        seconds = [after["at"] - before["at"] for before, after in pairwise(rounds)]
        steady = mean(seconds[1:] or seconds)
        loads = [line["process"] for line in self.lines("load")]
        seen = [peak for process, peak in self.peaks.items() if process.pid == self.server]
        others = [process for process in self.peaks if process.pid != self.server]
        largest = max(others, key=lambda process: self.peaks[process], default=None)
        return {
            "seconds_start": rounds[0]["at"] - self.begun,
            "seconds_first": seconds[0],
            "seconds_others": seconds[1:],
            "seconds_round": steady,
            "seconds_client_round": steady / clients,
            "server_memory_bytes": max([line.get("peak", 0) for line in rounds] + seen),
            "other_memory_bytes": self.peaks[largest] if largest else 0,
            "other": self.names[largest] if largest else "",
            "loads_server": loads.count(self.server),
            "loads_clients": len(loads) - loads.count(self.server),
        }


def _runs(process: int) -> bool:
    """Whether a process runs (one that has ended and is not yet waited for does not)."""
    with suppress(psutil.Error):
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    return False
