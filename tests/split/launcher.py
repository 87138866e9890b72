"""Starts hosts and clients as processes of their own, at once: it has imported all that takes seconds, and forks.

A line of JSON on standard input, ``[LOG, PROGRAM, ARGUMENT, ...]``, is answered with the new process's id.
"""

import json
import os
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import transformers.models.auto.modeling_auto
import transformers.models.clip.modeling_clip
import transformers.models.llama.modeling_llama
import transformers.models.llava.modeling_llava  # noqa: F401

from tests.split import slow_client, slow_host

PROGRAMS = {"host": slow_host.main, "client": slow_client.main}


@dataclass(frozen=True)
class Child:
    """A process that a launcher started; whoever ended is gone from the system at once."""

    id: int
    log: Path

    @property
    def alive(self) -> bool:
        with suppress(ProcessLookupError):
            os.kill(self.id, 0)
            return True
        return False

    def kill(self, number: int = signal.SIGKILL) -> None:
        """End it at once, as a power cut does."""
        with suppress(ProcessLookupError):
            os.kill(self.id, number)

    def tail(self) -> str:
        """The end of its log."""
        return self.log.read_text()[-2000:] if self.log.exists() else ""


def main() -> None:
    """Fork for every line, until the input ends; then end whoever is left."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how they ended
    print("ready", flush=True)
    started = []
    for line in sys.stdin:
        log, program, *arguments = json.loads(line)
        child = os.fork()
        if child == 0:
            with Path(log).open("wb") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            PROGRAMS[program](*arguments)
            return
        started.append(child)
        print(child, flush=True)
    for child in started:
        Child(child, Path()).kill()


if __name__ == "__main__":
    main()
