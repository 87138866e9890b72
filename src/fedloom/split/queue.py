"""Requests that wait for the language model, and the one thread that answers them, several in one pass.

put ->  [ oldest | ... | newest ]  -> take: whose turn it is, and all that fit -> one pass -> an answer to each
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from fedloom.core.errors import FedloomError
from fedloom.split.desk import Desk, Job
from fedloom.split.metrics import Metrics


class Busy(FedloomError):
    """There is no room now: to be tried again, later."""


class Late(FedloomError):
    """It took longer than it may."""


class Stopping(FedloomError):
    """The host ends: to be tried again, at whatever follows it."""


@dataclass(eq=False)
class Ticket:
    """A request that waits. ``until``: when its client stops waiting (``time.monotonic``). ``tell`` is called once, on
    another thread, with the answer or what went wrong."""

    job: Job
    until: float
    tell: Callable[[bytes | Exception], None]
    since: float = field(default_factory=time.monotonic)


class Queue:
    """At most ``length`` requests, and always one of each site. Sites take turns: however many one has sent, the others
    wait for one pass of it. Whose client is gone (``drop``), or has waited too long, is in nobody's way."""

    def __init__(self, length: int) -> None:
        self.length = length
        self._waiting: list[Ticket] = []
        self._changed = threading.Condition()
        self._closed = False
        self._passes = 0
        self._last: dict[str, int] = {}  # of each site: the number of the last pass that it was in

    def __len__(self) -> int:
        return len(self._waiting)

    def check(self, site: str) -> None:
        """See whether there is room for a request of a site.

        Raises:
            Busy: there is none.
            Stopping: nothing is taken any more.
        """
        self.check_open()
        if len(self._waiting) >= self.length and any(ticket.job.site == site for ticket in list(self._waiting)):
            raise Busy(f"{len(self._waiting)} requests wait already, and {self.length} may (--queue).")

    def check_open(self) -> None:
        """See whether anything is taken.

        Raises:
            Stopping: nothing is, any more.
        """
        if self._closed:
            raise Stopping("the host is stopping.")

    def put(self, ticket: Ticket) -> None:
        """Let a request wait.

        Raises:
            Busy, Stopping: as ``check``.
        """
        with self._changed:
            self.check(ticket.job.site)
            self._waiting.append(ticket)
            self._changed.notify()

    def drop(self, ticket: Ticket) -> None:
        """Free the place of a request whose client is gone; one that does not wait has none."""
        with self._changed:
            if ticket in self._waiting:
                self._waiting.remove(ticket)

    def take(self, fits: Callable[[Sequence[Job], Job], bool]) -> list[Ticket]:
        """Wait for a request, and return the oldest of the site that has waited longest for its turn with all that wait
        and fit it; nothing once the queue is closed.

        Nobody is waited for: that others join was measured to gain little, and to lose as much where they are late.
        """
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._waiting)
                found = list(self._waiting)
            if self._closed:
                return []
            if batch := self._batch(found, fits):
                return batch

    def _batch(self, found: Sequence[Ticket], fits: Callable[[Sequence[Job], Job], bool]) -> list[Ticket]:
        """The first and what fits it, taken out of the queue. ``fits`` may take a while: no lock is held."""
        found = sorted(found, key=lambda ticket: self._last.get(ticket.job.site, 0))  # of one site: the oldest first
        now, late, jobs, batch = time.monotonic(), [], list[Job](), list[Ticket]()
        for ticket in found:
            if ticket.until <= now:
                late.append(ticket)
            elif not batch or fits(jobs, ticket.job):
                batch.append(ticket)
                jobs.append(ticket.job)
        with self._changed:
            here = [ticket for ticket in batch if ticket in self._waiting]  # the others are gone meanwhile
            late = [ticket for ticket in late if ticket in self._waiting]
            self._waiting = [ticket for ticket in self._waiting if ticket not in here and ticket not in late]
        for ticket in late:
            ticket.tell(Late("its client waits no longer."))
        self._passes += 1
        self._last |= {ticket.job.site: self._passes for ticket in here}
        return here

    def close(self) -> None:
        """Take nothing any more, and tell those that wait."""
        with self._changed:
            self._closed = True
            left, self._waiting = self._waiting, []
            self._changed.notify_all()
        for ticket in left:
            ticket.tell(Stopping("the host is stopping."))


class Worker(threading.Thread):
    """Answers what waits in a queue until that is closed."""

    def __init__(self, desk: Desk, queue: Queue, metrics: Metrics) -> None:
        super().__init__(name="language-model", daemon=True)
        self._desk, self._queue, self._metrics = desk, queue, metrics

    def run(self) -> None:
        """Take and answer, one pass after the other."""
        while batch := self._queue.take(self._desk.fits):
            begun = time.monotonic()
            for ticket in batch:
                self._metrics.waited.observe(begun - ticket.since)
            self._metrics.batch.observe(len(batch))
            self._answer(batch)
            self._metrics.model_seconds.inc(time.monotonic() - begun)

    def _answer(self, batch: Sequence[Ticket]) -> None:
        """One pass for all; if that fails, one for each, so that whoever is at fault bears it alone."""
        try:
            answers = self._desk.run([ticket.job for ticket in batch])
        except Exception as error:
            if len(batch) == 1:
                batch[0].tell(error)
                return
            for ticket in batch:
                self._answer([ticket])
            return
        for ticket, answer in zip(batch, answers, strict=True):
            ticket.tell(answer)
