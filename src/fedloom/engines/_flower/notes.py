"""What a ServerApp says of itself: in a file beside the run folder, and in Flower's log."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fedloom.core import lock
from fedloom.core.files import write_atomic
from fedloom.core.printable import in_line
from fedloom.federation.record import LOCK, RunFolder

MEND = "`flwr list`, `flwr stop RUN`, and then --resume; or let it finish."


@dataclass(frozen=True)
class Note:
    """A file beside the run folder in which the ServerApp says who it is, and why it gave up."""

    out: Path

    @property
    def file(self) -> Path:
        """Where it is."""
        return self.out.with_name(f".{self.out.name}.server")

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Be the only server of the run folder; the system lets go of it when the process ends, however that happens.

        Raises:
            FedloomError: another server has it.
        """
        with RunFolder(self.out).alone(f"Fix: {MEND}"):
            yield

    def held(self) -> bool:
        """Whether a server has the run folder."""
        return lock.held(self.out / LOCK)

    def clear(self) -> None:
        """Forget what a former server said."""
        self.file.unlink(missing_ok=True)

    def remove(self) -> None:
        """Leave nothing beside the run folder."""
        self.clear()

    def write(self, error: str = "") -> None:
        """Say that this process runs the experiment, or why it gave up."""
        write_atomic(self.file, json.dumps({"process": os.getpid(), "error": error}).encode())

    def read(self) -> tuple[int, str]:
        """The process (0: none yet, or the file is broken), and why it gave up."""
        if not self.file.exists():
            return 0, ""
        try:
            found = json.loads(self.file.read_text(encoding="utf-8"))
            return int(found["process"]), str(found["error"])
        except (ValueError, TypeError, KeyError, RecursionError):
            return 0, ""


class Told:
    """Says what happens, a line at a time, for Flower's log."""

    def stage(self, name: str) -> None:
        """A part of the run begins."""
        print(f"fedloom: {in_line(name)}", flush=True)

    def round(self, number: int, rounds: int, cohort: int) -> None:
        """A round begins."""
        print(f"fedloom: round {number}/{rounds}, {cohort} clients", flush=True)

    def reply(self, client: str, loss: float | None, bytes_up: int, bytes_down: int) -> None:
        """A reply was folded in."""
        print(f"fedloom: {in_line(client)} answered", flush=True)

    def left_out(self, client: str, error: str) -> None:
        """A reply did not count."""
        print(f"fedloom: left out: {in_line(error)}", flush=True)

    def scored(self, number: int, score: float, unparsed: float | None = None) -> None:
        """The model was evaluated."""
        lost = f", {unparsed:.4f} of the answers unparsed" if unparsed else ""
        print(f"fedloom: after round {number}: {score:.4f}{lost}", flush=True)
