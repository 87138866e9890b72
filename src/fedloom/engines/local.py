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


class _Here:
    """Everybody is here from the beginning."""

    def gather(self) -> None:
        """Nobody has to be waited for."""


class Inline(_Here):
    """Runs one client after the other in this process, each when its reply is asked for."""

    def __init__(self, setup: Setup, kept: Kept) -> None:
        self.trainer = Trainer(setup, kept)

    def exchange(self, jobs: Iterable[Job]) -> Iterator[Reply]:
        """Replies in the order of the jobs."""
        return map(self.trainer.run, jobs)

    def close(self) -> int:
        """Nothing was started."""
        return 0


AHEAD = 2
"""So many replies a worker may come, and may have to be kept in memory, before that of an older job."""


class Pool(_Here):
    """Runs clients in worker processes, started at the first exchange. A worker that dies costs its client's turn and
    is replaced."""

    def __init__(self, setup: Setup, kept: Kept, workers: int) -> None:
        self.setup, self.kept, self.count = setup, kept, workers
        self.workers: list[Worker] = []

    def exchange(self, jobs: Iterable[Job]) -> Iterator[Reply]:
        """Replies as they come; a job is asked for when a worker is free, so few parcels are in memory at once.

        Nor does any run far ahead of the oldest: whoever wants the replies in order has few of them to keep.
        """
        waiting = iter(jobs)
        while len(self.workers) < self.count:
            self.workers.append(Worker.start(self.setup, self.kept))
        idle, busy = list(self.workers), dict[int, Worker]()  # by the job's number: the oldest is first
        taken = 0
        try:
            while True:
                while idle and _ahead(busy, taken) <= AHEAD * self.count and (job := next(waiting, None)) is not None:
                    worker = idle.pop()
                    worker.send(job)
                    busy[taken] = worker
                    taken += 1
                if not busy:
                    return
                worker = first_ready(list(busy.values()))
                del busy[next(number for number, each in busy.items() if each is worker)]
                reply = worker.receive()
                idle.append(worker if worker.alive else self._replace(worker))
                yield reply
        finally:
            for worker in busy.values():  # whoever has enough replies still leaves the workers free
                worker.receive()

    def _replace(self, dead: Worker) -> Worker:
        fresh = Worker.start(self.setup, self.kept)
        self.workers[self.workers.index(dead)] = fresh
        return fresh

    def close(self) -> int:
        """End the workers; returns the largest of their peaks of memory, in bytes."""
        peaks = [worker.close() for worker in self.workers]
        self.workers.clear()
        return max(peaks, default=0)


def _ahead(busy: dict[int, Worker], taken: int) -> int:
    """How many of the ``taken`` jobs are done though the oldest one of ``busy`` is not."""
    return taken - next(iter(busy), taken) - len(busy)
