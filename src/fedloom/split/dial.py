"""The client's way to a host: one channel, kept open, and a request that is sent again until it is answered.

Every request may be sent twice: it changes nothing at the host but which rows are held there.
"""

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc

from fedloom.core.errors import FedloomError
from fedloom.split.address import is_loopback
from fedloom.split.frames import METHOD, PART, RATE, SENDING, SERVICE, Gathered, parts, whole

_Code = grpc.StatusCode
_AGAIN = {
    _Code.UNAVAILABLE: "it cannot be reached",
    _Code.RESOURCE_EXHAUSTED: "it is busy",
    _Code.DEADLINE_EXCEEDED: "it does not answer in time",
    _Code.CANCELLED: "it broke off",
    _Code.INTERNAL: "the connection broke",
    _Code.UNKNOWN: "the connection broke",
}
"""What may be better the next time. A host says none of the last three by itself."""

_FIRST, _LONGEST = 0.05, 5.0  # seconds between tries, at first and at last
_MOST_BYTES = 16 << 30  # of an answer
_OPTIONS = (
    ("SingleThreadedUnaryStream", 1),  # no thread for each request
    ("grpc.max_receive_message_length", PART + 1024),
    ("grpc.max_send_message_length", PART + 1024),
    ("grpc.keepalive_time_ms", 20_000),  # a host whose cable was cut is found out
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)


class Dial:
    """Asks the host at ``address`` (``HOST:PORT``); a transport of ``split.boundary.Boundary``, for any threads.

    ``root_certificates``: the file of who signed the host's certificate; ``None``: whom this system trusts, and
    plaintext where the host is on this machine. ``token``: the site's; or ``key`` and ``certificate``, the site's own
    files. ``deadline``: seconds that an answer may take, besides a second for every megabyte that is sent.
    ``patience``: seconds that a host which is gone, busy or late is asked again.

    Raises:
        FedloomError: a file cannot be read.
    """

    def __init__(
        self,
        address: str,
        token: str = "",
        root_certificates: Path | str | None = None,
        key: Path | str | None = None,
        certificate: Path | str | None = None,
        deadline: float = 60.0,
        patience: float = 120.0,
    ) -> None:
        self.address, self.deadline, self.patience = address, deadline, patience
        self.sent = self.received = 0
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()
        options = [*_OPTIONS, *([("grpc.enable_http_proxy", 0)] if is_loopback(address) else [])]
        if is_loopback(address) and root_certificates is None:
            self._channel = grpc.insecure_channel(address, options)
        else:
            files = (root_certificates, key, certificate)
            secrets = grpc.ssl_channel_credentials(*(_read(address, file) if file else None for file in files))
            self._channel = grpc.secure_channel(address, secrets, options)
        path = f"/{SERVICE}/{METHOD}"
        self._short = self._channel.unary_stream(path)
        self._long = self._channel.stream_stream(path)
        self._closed = threading.Event()
        self._lock = threading.Lock()

    def ask(self, blob: bytes, patience: float | None = None) -> bytes:
        """The answer to a request; ``patience``: this one's own (0: it is tried once).

        Raises:
            FedloomError: the host refuses it, or is gone, busy or late for longer than ``patience``.
        """
        until, pause = 0.0, _FIRST
        seconds = self.patience if patience is None else patience
        while not self._closed.is_set():
            try:
                return self._once(blob)
            except grpc.RpcError as error:
                if error.code() not in _AGAIN:
                    raise self._refused(error) from None
                until = until or time.monotonic() + seconds
                if time.monotonic() + pause > until:
                    raise self._gone(error, seconds) from None
            self._closed.wait(random.uniform(pause / 2, pause))
            pause = min(2 * pause, _LONGEST)
        raise FedloomError(f"host {self.address}: the connection was closed.")

    def close(self) -> None:
        """End the connection; who waits for an answer gets an error."""
        self._closed.set()
        self._channel.close()

    def _once(self, blob: bytes) -> bytes:
        seconds = self.deadline + len(blob) / RATE
        single = whole(blob)
        if single is not None:
            self._count(sent=len(single))
            call = self._short(single, timeout=seconds, metadata=self._metadata)
        else:
            call = self._long(self._counted(blob), timeout=seconds, metadata=self._metadata)
        try:
            return self._gathered(call)
        finally:
            call.cancel()  # nothing where it has ended; else its place at the host is freed

    def _gathered(self, call: Any) -> bytes:
        came: Gathered | None = None
        for part in call:
            self._count(received=len(part))
            if came is None:
                came = Gathered(part, _MOST_BYTES)
            else:
                came.add(part)
        if came is None:
            raise FedloomError(f"host {self.address}: it answered nothing. Fix: the same release of fedloom there.")
        return came.blob()

    def _counted(self, blob: bytes) -> Iterator[bytes]:
        for part in parts(blob):
            self._count(sent=len(part))
            yield part

    def _count(self, sent: int = 0, received: int = 0) -> None:
        with self._lock:
            self.sent += sent
            self.received += received

    def _refused(self, error: Any) -> FedloomError:
        if error.code() == _Code.UNIMPLEMENTED:
            return FedloomError(f"host {self.address}: what answers there is no fedloom host. Fix: its address.")
        return FedloomError(f"host {self.address}: {error.details()}")

    def _gone(self, error: Any, patience: float) -> FedloomError:
        details = str(error.details()).rstrip(".")
        why, fixes = _AGAIN[error.code()], "start it, or fix its address, its certificate or the network"
        if error.code() == _Code.RESOURCE_EXHAUSTED:
            fixes = "fewer clients at once, or more room there (--queue, --memory-mb)"
        elif error.code() == _Code.DEADLINE_EXCEEDED:
            fixes = "raise split.deadline, or lower client.batch_size"
            if SENDING in details:  # the host's limit came first
                fixes = f"a larger {SENDING} there, or lower client.batch_size"
        tried = f", for {patience:g} s now" if patience else ""
        return FedloomError(
            f"host {self.address}: {why}{tried} ({details}). Fix: {fixes}; split.patience says how long it is tried."
        )


def _read(address: str, file: Path | str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        told = f"host {address}: {file} cannot be read ({error.strerror}). Fix: its path, or who may read it."
        raise FedloomError(told) from None
