"""A worker process that runs clients: jobs go in and replies come out as letters over a pipe."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from fedloom.core import config, memory
from fedloom.core.contracts import Job, Reply
from fedloom.engines._guard import UNGUARDED, refuse_unguarded, told
from fedloom.federation.client import Trainer
from fedloom.federation.kept import Kept
from fedloom.federation.setup import Setup
from fedloom.site import letter
from fedloom.site.letter import Letter


@dataclass
class Worker:
    """The parent's end of one worker."""

    process: BaseProcess
    pipe: Connection
    job: Job | None = None
    alive: bool = True

    @classmethod
    def start(cls, setup: Setup, kept: Kept) -> "Worker":
        """Start a process that builds the same experiment for itself."""
        refuse_unguarded()
        spawn = multiprocessing.get_context("spawn")
        ours, theirs = spawn.Pipe()
        arguments = (theirs, config.dump(setup.experiment), str(kept.folder), str(setup.cache_dir or ""))
        process = spawn.Process(target=_serve, args=arguments, daemon=True)
        with _interrupts_ignored():
            process.start()
        theirs.close()
        return cls(process, ours)

    def send(self, job: Job) -> None:
        """Hand the worker a job; a worker that is dead shows it when its reply is asked for."""
        self.job = job
        try:
            self.pipe.send_bytes(letter.pack(Letter.of(job)))
        except OSError:
            self.alive = False

    def receive(self) -> Reply:
        """The reply to the last job; an error reply where the process died over it."""
        assert self.job is not None
        job, self.job = self.job, None
        try:
            return letter.unpack(self.pipe.recv_bytes()).replied
        except (EOFError, OSError):
            self.alive = False
            self.close()
            if self.process.exitcode == UNGUARDED:
                raise told() from None
            where = f"client {job.client!r}, round {job.round}"
            code = self.process.exitcode
            return Reply(job.client, error=f"{where}: its worker process ended with code {code}{_why(code)}.")

    def close(self) -> int:
        """End the process; one in the middle of a job is not waited for (what it writes, it writes atomically).

        Returns its peak memory in bytes, 0 where it had ended before.
        """
        peak = memory.peak(self.process.pid)
        self.pipe.close()
        if self.job is not None:
            self.process.terminate()
        self.process.join(timeout=5)
        if self.process.is_alive():
            self.process.terminate()
            self.process.join()
        return peak


def _why(code: int | None) -> str:
    """Why a process ended: it was killed, most often since memory ran out, or by an error of its own."""
    if code is not None and code < 0:
        return " (out of memory?). Set fewer engine.workers, or a smaller client.batch_size"
    return "; what it printed before says why"


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """What is started here ignores Ctrl-C from its first instruction on: the parent decides when to stop."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may change this
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def first_ready(workers: Sequence[Worker]) -> Worker:
    """A worker whose reply (or end) is there; waits for one."""
    dead = next((worker for worker in workers if not worker.alive), None)
    if dead is not None:
        return dead
    ready = wait([worker.pipe for worker in workers])
    return next(worker for worker in workers if worker.pipe in ready)


def _serve(pipe: Connection, toml: str, kept: str, cache_dir: str) -> None:
    """The process: one setup, one backbone, job after job until the parent closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # for a parent that could not see to it
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    setup = Setup(config.parse(toml, "the run's configuration"), Path(cache_dir) if cache_dir else None)
    setup.use_threads()
    trainer = Trainer(setup, Kept(Path(kept)))
    while True:
        try:
            asked = letter.unpack(pipe.recv_bytes())
            pipe.send_bytes(letter.pack(asked.reply(trainer.run(asked.job))))
        except (EOFError, OSError):
            return
