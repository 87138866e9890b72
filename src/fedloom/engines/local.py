"""The local engine: clients run on this machine, in this process or in a few worker processes."""

from collections.abc import Iterable, Iterator

from fedloom.core.contracts import Engine, Job, Reply
from fedloom.engines._workers import Worker, first_ready
from fedloom.federation.client import Trainer
from fedloom.federation.kept import Kept
from fedloom.federation.setup import Setup


def local(setup: Setup, kept: Kept) -> Engine:
    """All clients on this machine: one backbone a process, ``engine.workers`` processes."""
    workers = min(setup.experiment.engine.workers, len(setup.clients))
    return Inline(setup, kept) if workers == 1 else Pool(setup, kept, workers)


class Inline:
    """Runs one client after the other in this process, each when its reply is asked for."""

    def __init__(self, setup: Setup, kept: Kept) -> None:
        self.trainer = Trainer(setup, kept)

    def exchange(self, jobs: Iterable[Job]) -> Iterator[Reply]:
        """Replies in the order of the jobs."""
        return map(self.trainer.run, jobs)

    def close(self) -> None:
        """Nothing was started."""


class Pool:
    """Runs clients in worker processes, started at the first exchange. A worker that dies costs its client's turn and
    is replaced."""

    def __init__(self, setup: Setup, kept: Kept, workers: int) -> None:
        self.setup, self.kept, self.count = setup, kept, workers
        self.workers: list[Worker] = []

    def exchange(self, jobs: Iterable[Job]) -> Iterator[Reply]:
        """Replies as they come; a job is asked for when a worker is free, so few parcels are in memory at once."""
        waiting = iter(jobs)
        while len(self.workers) < self.count:
            self.workers.append(Worker.start(self.setup, self.kept))
        idle, busy = list(self.workers), list[Worker]()
        while True:
            while idle and (job := next(waiting, None)) is not None:
                worker = idle.pop()
                worker.send(job)
                busy.append(worker)
            if not busy:
                return
            worker = first_ready(busy)
            busy.remove(worker)
            reply = worker.receive()
            idle.append(worker if worker.alive else self._replace(worker))
            yield reply

    def _replace(self, dead: Worker) -> Worker:
        fresh = Worker.start(self.setup, self.kept)
        self.workers[self.workers.index(dead)] = fresh
        return fresh

    def close(self) -> None:
        """End the workers."""
        for worker in self.workers:
            worker.close()
        self.workers.clear()
