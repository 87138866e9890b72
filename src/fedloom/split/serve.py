"""One request's way through a host, on the event loop:

    who is it? -> room? -> all parts, in time -> Desk.read -> queue -> one pass of the model -> answer in parts
    (identity)   (flight)  (frames)              (threads)    (queue, its own thread)

A slow client keeps its seat, and neither the model nor a thread.
"""

import asyncio
import contextlib
import time
import traceback
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
import torch

from fedloom.core.errors import FedloomError
from fedloom.split.desk import Desk, Job
from fedloom.split.errors import Refused
from fedloom.split.flight import Flight, Seat
from fedloom.split.frames import RATE, SENDING, Gathered, parts
from fedloom.split.identity import Identity, Stranger
from fedloom.split.metrics import Metrics
from fedloom.split.queue import Busy, Late, Queue, Stopping, Ticket, Worker

INLINE = 16 << 10
"""Bytes of a request that is read on the event loop itself; larger ones would hold up others."""

_Code = grpc.StatusCode
_ENDS: dict[type[Exception], tuple[str, Any]] = {
    Stranger: ("stranger", _Code.UNAUTHENTICATED),
    Refused: ("refused", _Code.INVALID_ARGUMENT),
    Busy: ("busy", _Code.RESOURCE_EXHAUSTED),
    Late: ("late", _Code.DEADLINE_EXCEEDED),
    Stopping: ("stopping", _Code.UNAVAILABLE),
    FedloomError: ("failed", _Code.FAILED_PRECONDITION),
}


@dataclass(frozen=True)
class Limits:
    """``queue``: requests that may wait for the model; ``share``: requests of one site at work at a time (0: half of
    those). ``flight_bytes``: of all requests at work. ``sending``: seconds that a request may take to arrive, and an
    answer to leave, besides a second for every megabyte that has; more of them let in sites with a slower line."""

    queue: int = 64
    share: int = 0
    flight_bytes: int = 8 << 30
    sending: float = 30.0


@dataclass
class Service:
    """Answers the sites of ``identity`` with ``desk``; ``tell`` is told of errors that nobody foresaw, ``brought`` of
    each connection that a site's request comes by, and the site."""

    desk: Desk
    identity: Identity
    limits: Limits
    tell: Callable[[str], None]
    brought: Callable[[str, str], None] = lambda peer, site: None
    metrics: Metrics = field(default_factory=Metrics)

    def __post_init__(self) -> None:
        limits = self.limits
        self.queue = Queue(limits.queue)
        self.flight = Flight(limits.share or max(1, limits.queue // 2), limits.flight_bytes)
        self.worker = Worker(self.desk, self.queue, self.metrics)
        self._readers = ThreadPoolExecutor(2, "read")
        self._reads: dict[str, asyncio.Lock] = {}
        self._arriving: set[Seat] = set()
        self.metrics.watch(
            queue_length=lambda: len(self.queue),
            open_requests=lambda: len(self.flight),
            in_flight_bytes=lambda: self.flight.bytes,
            held_bytes=lambda: self.desk.held_bytes,
        )

    def end(self) -> None:
        """Take nothing any more; what the model works at is answered, and nobody who sends slowly is waited for."""
        self.queue.close()
        for seat in list(self._arriving):
            seat.cut()
        self._readers.shutdown(wait=False)

    async def ask(self, stream: AsyncIterator[bytes], context: Any) -> None:
        """Answer one request, or say in the call's status why not."""
        kind, outcome, status = "unread", "answered", None
        try:
            site = self.identity.site(context.invocation_metadata() or (), context.auth_context())
            self.brought(context.peer(), site)
            with self.flight.seat(site) as seat:
                job = await self._read(site, await self._receive(context, seat))
                kind = job.kind
                answer = job.answer if job.answer is not None else await self._compute(job, context)
                await self._send(context, answer, seat)
        except asyncio.CancelledError:
            outcome = "gone"
            raise
        except grpc.aio.InternalError:  # a part that could not be moved, for its client left: the cancelling follows
            outcome = "gone"
        except Exception as error:
            outcome, status = self._verdict(error)
        finally:
            self.metrics.requests.labels(kind, outcome).inc()
        if status:
            await context.abort(*status)

    async def _receive(self, context: Any, seat: Seat) -> bytes:
        self.queue.check(seat.site)  # before anything is sent in vain
        self._arriving.add(seat)
        try:
            async with self._paced("the request did not arrive", seat) as pace:
                came = Gathered(await _part(context), self.desk.max_bytes)
                seat.expect(came.total)
                seat.come(came.have)
                while not came.done:
                    pace()
                    part = await _part(context)
                    seat.come(len(part))
                    came.add(part)
                    self.queue.check_open()
        finally:
            self._arriving.remove(seat)
        self.metrics.bytes.labels("in").inc(came.total)
        return came.blob()

    @contextlib.asynccontextmanager
    async def _paced(self, what: str, seat: Seat) -> AsyncIterator[Callable[[], None]]:
        """A time in which bytes of a seat move, ended where they are slower than ``RATE`` by more than the seconds of
        ``sending``, or where others need their room. What is given is called after each part."""
        loop, sending = asyncio.get_running_loop(), self.limits.sending
        begun = loop.time()
        try:
            async with asyncio.timeout(sending) as patience:

                def cut() -> None:
                    with contextlib.suppress(RuntimeError):  # its time is over as it is
                        patience.reschedule(loop.time())

                seat.cut = cut
                yield lambda: patience.reschedule(begun + sending + seat.moved / RATE)
        except TimeoutError:
            seat.check()
            self.queue.check_open()
            raise Late(f"{what} within {sending:g} s ({SENDING}) and one more for each megabyte.") from None
        finally:
            seat.stay()

    async def _read(self, site: str, blob: bytes) -> Job:
        loop, reads = asyncio.get_running_loop(), self._reads.setdefault(site, asyncio.Lock())
        await reads.acquire()  # one at a time: a site with many is in the way of its own alone
        if len(blob) <= INLINE:
            loop.call_soon(reads.release)  # after the others had a turn
            return self.desk.read(site, blob)
        try:
            self.queue.check(site)  # it may have taken a while to arrive, and the readers end with the queue
            reading = loop.run_in_executor(self._readers, self.desk.read, site, blob)
        except BaseException:
            reads.release()
            raise

        def done(read: "asyncio.Future[Job]") -> None:
            reads.release()
            if not read.cancelled():
                read.exception()  # perhaps nobody asks for it any more

        reading.add_done_callback(done)
        return await asyncio.shield(reading)  # its thread reads on, whoever is gone

    async def _compute(self, job: Job, context: Any) -> bytes:
        loop = asyncio.get_running_loop()
        made: asyncio.Future[bytes] = loop.create_future()

        def settle(answer: bytes | Exception) -> None:
            if isinstance(answer, bytes):
                if not made.done():
                    made.set_result(answer)
            elif made.done():  # its client is gone, and the operator should know all the same
                self._told(answer)
            else:
                made.set_exception(answer)

        def tell(answer: bytes | Exception) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(settle, answer)

        left = context.time_remaining()
        ticket = Ticket(job, float("inf") if left is None else time.monotonic() + left, tell)
        self.queue.put(ticket)
        try:
            return await made
        finally:
            self.queue.drop(ticket)

    async def _send(self, context: Any, answer: bytes, seat: Seat) -> None:
        seat.answer(len(answer))
        async with self._paced("the answer was not taken", seat) as pace:
            for part in parts(answer):
                await context.write(part)
                seat.move(len(part))
                pace()
        self.metrics.bytes.labels("out").inc(len(answer))

    def _verdict(self, error: Exception) -> tuple[str, tuple[Any, str]]:
        """How a request ends that is not answered: for the metrics, and for the client."""
        for kind, (outcome, code) in _ENDS.items():
            if isinstance(error, kind):
                return outcome, (code, str(error)[:2000])
        self._told(error)
        if isinstance(error, torch.OutOfMemoryError):
            text = "the host has too little memory for this request. Fix: lower client.batch_size."
            return "failed", (_Code.FAILED_PRECONDITION, text)
        return "failed", (_Code.ABORTED, f"the host failed at it ({type(error).__name__}); its log says more.")

    def _told(self, error: Exception) -> None:
        if not isinstance(error, FedloomError):
            self.tell("".join(traceback.format_exception(error)))


async def _part(context: Any) -> bytes:
    """The next part.

    Raises:
        Refused: there is none.
    """
    part = await context.read()
    if part is grpc.aio.EOF:
        raise Refused("split: the request ended before all bytes that it announced had come.")
    return bytes(part)
