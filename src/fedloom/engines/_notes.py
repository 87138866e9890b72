"""What a ServerApp says of itself: in a file beside the run folder, and in Flower's log."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fedloom.core.errors import FedloomError
from fedloom.core.files import write_atomic

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
        self.out.parent.mkdir(parents=True, exist_ok=True)
        with self._lock.open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise FedloomError(f"{self.out}: another server of this run is at work. Mend: {MEND}") from None
            yield

    def held(self) -> bool:
        """Whether a server has the run folder."""
        if not self._lock.exists():
            return False
        with self._lock.open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return True
        return False

    @property
    def _lock(self) -> Path:
        return self.out.with_name(f".{self.out.name}.lock")

    def clear(self) -> None:
        """Forget what a former server said."""
        self.file.unlink(missing_ok=True)

    def remove(self) -> None:
        """Leave nothing beside the run folder."""
        self.clear()
        self._lock.unlink(missing_ok=True)

    def write(self, error: str = "") -> None:
        """Say that this process runs the experiment, or why it gave up."""
        write_atomic(self.file, json.dumps({"process": os.getpid(), "error": error}).encode())

    def read(self) -> tuple[int, str]:
        """The process (0: none yet), and why it gave up."""
        if not self.file.exists():
            return 0, ""
        found = json.loads(self.file.read_text(encoding="utf-8"))
        return int(found["process"]), str(found["error"])


class Told:
    """Says what happens, a line at a time, for Flower's log."""

    def stage(self, name: str) -> None:
        """A part of the run begins."""
        print(f"fedloom: {name}", flush=True)

    def round(self, number: int, rounds: int, cohort: int) -> None:
        """A round begins."""
        print(f"fedloom: round {number}/{rounds}, {cohort} clients", flush=True)

    def reply(self, client: str, loss: float | None, bytes_up: int, bytes_down: int) -> None:
        """A reply was folded in."""
        print(f"fedloom: {client} answered", flush=True)

    def left_out(self, client: str, error: str) -> None:
        """A reply did not count."""
        print(f"fedloom: left out: {error}", flush=True)

    def scored(self, number: int, score: float) -> None:
        """The model was evaluated."""
        print(f"fedloom: after round {number}: {score:.4f}", flush=True)
