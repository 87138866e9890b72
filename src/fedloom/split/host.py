"""The language model's host: a gRPC service with one method, ``/fedloom.Host/Ask``, a stream of parts each way.

event loop: every request, from its first part to the last of its answer (serve.py)
    and twice a second a look at who is connected (connections.py)
language-model: the thread that takes what waits, several in one pass (queue.py)
Prometheus: a port of its own (metrics.py); health: `Check` of the standard gRPC service (health.py)
"""

import asyncio
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import grpc

from fedloom.core.errors import FedloomError
from fedloom.split import connections
from fedloom.split.address import is_loopback, parted
from fedloom.split.connections import Connections
from fedloom.split.desk import Desk
from fedloom.split.frames import METHOD, PART, SERVICE
from fedloom.split.health import Health
from fedloom.split.identity import Identity
from fedloom.split.serve import Limits, Service

_OPTIONS = (
    ("grpc.so_reuseport", 0),  # a second host at the same port is an error, and no lottery
    ("grpc.max_receive_message_length", PART + 1024),
    ("grpc.max_send_message_length", PART + 1024),
    ("grpc.keepalive_time_ms", 20_000),  # a client whose cable was cut is found out
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.server_handshake_timeout_ms", 10_000),  # else two minutes
)
_CALLS = 1024  # at a time, and of strangers' only those that are about to be refused


@dataclass(frozen=True)
class Door:
    """Where a host listens: ``address`` is ``HOST:PORT`` (port 0: any that is free). ``certificate`` and ``key``: its
    own, PEM. ``client_ca``: who signed the certificates that every client must show; empty: they need none. Without a
    certificate nothing is encrypted.

    Raises:
        FedloomError: that could be read by other machines.
    """

    address: str
    certificate: bytes = b""
    key: bytes = b""
    client_ca: bytes = b""

    def __post_init__(self) -> None:
        parted(self.address, "--listen")
        if not self.certificate and not is_loopback(self.address):
            raise FedloomError(
                f"--listen {self.address}: open to other machines, and without TLS all of it could be read on its way. "
                "Fix: --certificates DIR, or listen on 127.0.0.1."
            )


class Host:
    """Serves ``desk`` to the sites of ``identity`` at ``door``; ``tell`` is told what an operator should know.

    Raises:
        FedloomError: something of the language model can learn.
    """

    def __init__(
        self,
        desk: Desk,
        identity: Identity,
        door: Door,
        limits: Limits | None = None,
        tell: Callable[[str], None] = print,
    ) -> None:
        if learning := desk.language.learning():
            raise FedloomError(f"host: {learning[0]!r} can learn; what is served must be frozen (requires_grad False).")
        self.door, self.address, self._tell = door, "", tell
        files = connections.limit()
        self.connections = Connections(strangers=min(1024, files // 4))
        self._most = files * 3 // 4  # the others are for the host itself
        self.service = Service(desk, identity, limits or Limits(), tell, self.connections.brought)
        self.metrics = self.service.metrics
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="host", daemon=True)
        self._begun = threading.Event()
        self._failed: Exception | None = None

    def start(self) -> None:
        """Listen and serve; ``address`` says where.

        Raises:
            FedloomError: the port is taken, or the certificate is none.
        """
        self._thread.start()
        self._begun.wait()
        if self._failed:
            raise self._failed
        self.service.worker.start()

    @property
    def alive(self) -> bool:
        """Whether it serves; one that does not, and was not stopped, is to be started again."""
        return self._thread.is_alive() and self.service.worker.is_alive()

    def stop(self, grace: float = 60.0) -> None:
        """Take no new requests, answer what the model works at within ``grace`` seconds, and end; once is enough."""
        if self._thread.is_alive() and self._loop:
            with suppress(RuntimeError):  # it has just ended, and its loop is closed
                self._loop.call_soon_threadsafe(self._end, grace)
            self._thread.join()
            self.service.worker.join(grace)

    def _end(self, grace: float) -> None:
        if not self._ending.done():  # else it was stopped twice
            self._ending.set_result(grace)

    def __enter__(self) -> "Host":
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:
            self._failed = error
            if self._begun.is_set():
                self._tell("".join(traceback.format_exception(error)))
        finally:
            self.service.end()
            self._begun.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ending: asyncio.Future[float] = self._loop.create_future()
        bounds = (
            ("grpc.max_allowed_incoming_connections", self._most),
            ("grpc.max_concurrent_streams", max(64, self.service.flight.each)),  # of a connection
        )
        self._grpc = grpc.aio.server(options=_OPTIONS + bounds, maximum_concurrent_rpcs=_CALLS)
        ask = grpc.stream_stream_rpc_method_handler(self.service.ask)
        health, own = Health(("", SERVICE)), grpc.method_handlers_generic_handler(SERVICE, {METHOD: ask})
        self._grpc.add_generic_rpc_handlers((own, health.handler()))
        self.address = f"{self.door.address.rpartition(':')[0]}:{self._listen()}"
        await self._grpc.start()
        watch = asyncio.create_task(self._watch())
        self._begun.set()
        grace = 0.0
        try:
            grace = await self._ending
        finally:
            watch.cancel()
            health.serving = False
            self.service.end()
            await self._grpc.stop(grace)

    async def _watch(self) -> None:
        port = parted(self.address, "--listen")[1]
        while True:
            await asyncio.sleep(connections.EVERY)
            try:
                self.connections.sweep(port)
            except Exception as error:  # else nobody would look any more, and nobody know
                self._tell("".join(traceback.format_exception(error)))
                await asyncio.sleep(connections.PATIENCE)

    def _listen(self) -> int:
        door = self.door
        try:
            if not door.certificate:
                return int(self._grpc.add_insecure_port(door.address))
            shown = [(door.key, door.certificate)]
            secrets = grpc.ssl_server_credentials(shown, door.client_ca or None, bool(door.client_ca))
            return int(self._grpc.add_secure_port(door.address, secrets))
        except RuntimeError as error:
            told = "Fix: a port that is free, and PEM files that belong together."
            raise FedloomError(f"--listen {door.address}: {error}. {told}") from None
