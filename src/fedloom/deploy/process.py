"""A process that is started, watched and ended by its own id, with its output in a file."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from fedloom.core.errors import FedloomError
from fedloom.federation.round import Stopped

FLOWER = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1",
    "FLWR_PRIVATE_MAX_CONCURRENT_OBJ_PUSHES": "8",
    "FLWR_PRIVATE_MAX_CONCURRENT_OBJ_PULLS": "8",
}
"""Flower's settings: nothing is told to anybody, work is looked for often, eight parts of a message travel at once."""


def environment(home: Path) -> dict[str, str]:
    """The environment of a Flower process with its own ``FLWR_HOME``; commands are found beside this Python."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return {
        **os.environ,
        **FLOWER,
        "PATH": path,
        "FLWR_HOME": str(home),
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8",
    }


@dataclass
class Process:
    """One process; ``ready()`` says whether it does its work yet."""

    name: str
    arguments: Sequence[str]
    log: Path
    env: dict[str, str]
    ready: Callable[[], bool] = lambda: True
    _running: subprocess.Popen[bytes] | None = field(default=None)

    def start(self) -> None:
        """Start it; its output goes to the end of the log. Ctrl-C does not reach it: whoever started it ends it."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._running = subprocess.Popen(
                self.arguments,
                preexec_fn=_end_with_parent,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=self.env,
                start_new_session=True,
            )

    @property
    def id(self) -> int:
        """Its process id."""
        assert self._running is not None
        return self._running.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._running is not None and self._running.poll() is None

    def wait_ready(self, seconds: float, stop: Callable[[], bool] = lambda: False) -> None:
        """Wait until it does its work.

        Raises:
            FedloomError: it ended, or is not ready in time; with the end of its log.
            Stopped: ``stop()`` became true.
        """
        until = time.monotonic() + seconds
        while not self.ready():
            if stop():
                raise Stopped
            if not self.alive or time.monotonic() > until:
                told = "ended" if not self.alive else f"is not ready after {seconds:g} s"
                raise FedloomError(f"{self.name} {told}. The end of {self.log}:\n{self.tail()}")
            time.sleep(0.1)

    def kill(self) -> None:
        """End it at once, as a power cut does (it alone, not what it started)."""
        if self._running and self.alive:
            os.kill(self.id, signal.SIGKILL)
            self._running.wait()

    def ask_to_end(self) -> None:
        """Ask it to end, and do not wait for it."""
        if self._running and self.alive:
            self._running.terminate()

    def end(self, seconds: float = 10) -> None:
        """Ask it to end, and end it and all that it started after ``seconds``."""
        if self._running is None:
            return
        self.ask_to_end()
        with suppress(subprocess.TimeoutExpired):
            self._running.wait(seconds)
        with suppress(ProcessLookupError):
            os.killpg(self.id, signal.SIGKILL)  # its session: nothing that it started is left
        self._running.wait()

    def tail(self, lines: int = 15) -> str:
        """The end of its log."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


def _end_with_parent() -> None:
    """Where the system can (Linux), be asked to end when whoever started us ends, however that happens."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def free_port() -> int:
    """A port of loopback that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
