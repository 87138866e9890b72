"""The resident worker of a site: one process that holds model and data, and answers letters on a local socket."""

import fcntl
import os
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from fedloom.core import memory, resolve
from fedloom.core.errors import FedloomError
from fedloom.core.home import home
from fedloom.site import letter, link
from fedloom.site.desk import Desk
from fedloom.site.letter import Letter

SOCKET = "worker.sock"


def state_of(name: str, state: Path | None) -> Path:
    """The folder in which the site ``name`` keeps what is its own: in the user's home unless ``state`` says otherwise.

    Raises:
        FedloomError: neither is there.
    """
    if state:
        return state.absolute()
    if (own := home()) is None:
        raise FedloomError(f"site {name!r}: this user has no home folder to keep its state in. Give one with --state.")
    return own / ".local" / "share" / "fedloom" / "sites" / name


@dataclass
class Worker:
    """Serves a desk until it is told to stop. ``tell(text)`` is called with what happens, a line at a time."""

    desk: Desk
    tell: Callable[[str], None] = lambda text: None
    begun: float = field(default_factory=time.time)
    answered: int = 0
    doing: str = "waiting"

    def __post_init__(self) -> None:
        self.desk.tell = self.tell
        self.busy = threading.Lock()  # one backbone: one letter at a time, until its answer is on its way
        self._server: socketserver.BaseServer | None = None

    @property
    def path(self) -> Path:
        """The socket's file."""
        return self.desk.state / SOCKET

    def serve(self, experiment: str = "") -> None:
        """Answer letters until ``stop``; what is being done then is finished first.

        ``experiment``: TOML of one whose model and data are loaded at once.

        Raises:
            FedloomError: the socket cannot be made, or another worker has it.
        """
        self.desk.state.mkdir(parents=True, exist_ok=True)
        self.desk.state.chmod(0o700)
        with self._alone():
            self._serve(experiment)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Be the only worker of this site's folder, until the very end."""
        with (self.desk.state / "worker.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                told = "a worker of this site is running. Fix: `fedloom site stop` first."
                raise FedloomError(f"{self.path}: {told}") from None
            yield

    def _serve(self, experiment: str) -> None:
        self.path.unlink(missing_ok=True)
        before = os.umask(0o177)  # the socket is its owner's alone from its first moment
        try:
            with link.short(self.path) as name:
                server = _Server(name, self)
        finally:
            os.umask(before)
        self._server = server
        if experiment:
            threading.Thread(target=self._prepare, args=(experiment,), daemon=True).start()
        with server:
            try:
                server.serve_forever(poll_interval=0.1)
            finally:
                self.path.unlink(missing_ok=True)
                self.desk.close()

    def _prepare(self, experiment: str) -> None:
        with self.busy:
            self.doing, begun = "loading", time.perf_counter()
            try:
                with resolve.guarded(self.desk.policy.guard):
                    self.desk.prepare(experiment)
                self.tell(f"model and data loaded in {time.perf_counter() - begun:.1f} s")
            except Exception as error:  # a server that asks for it gets the same answer
                self.tell(f"cannot load: {error}")
            self.doing = "waiting"

    def stop(self) -> None:
        """End ``serve``, once what is being done is answered."""
        threading.Thread(target=self._stop, daemon=True).start()

    def _stop(self) -> None:
        with self.busy:
            if self._server:
                self._server.shutdown()

    def reply(self, question: Letter) -> Letter:
        """The answer to a letter; whoever asks for work holds ``busy``."""
        if question.kind == "health":
            return question.answer(facts=self.health())
        if question.kind == "stop":
            self.stop()
            return question.answer()
        self.doing = f"round {question.round}: {question.kind}" if question.round else question.kind
        answer = self.desk.answer(question)
        self.answered, doing, self.doing = self.answered + 1, self.doing, "waiting"
        told = answer.error or f"{answer.seconds:.1f} s, {len(answer.parcel):,} bytes back"
        self.tell(f"{doing}: {told}")
        return answer

    def health(self) -> dict[str, letter.Fact]:
        """How the worker is."""
        return {
            "site": self.desk.site,
            "process": os.getpid(),
            "doing": self.doing,
            "answered": self.answered,
            "loads": self.desk.loads,
            "seconds": round(time.time() - self.begun, 1),
            "peak_memory_bytes": memory.peak(),
        }


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """A thread a connection; the letters' work itself is one at a time."""

    daemon_threads = True

    def __init__(self, path: str, worker: Worker) -> None:
        self.worker = worker
        super().__init__(path, _Connection)

    def handle_error(self, request: object, client_address: object) -> None:
        """A connection that breaks is the other side's to fix."""


class _Connection(socketserver.BaseRequestHandler):
    server: _Server
    request: socket.socket

    def handle(self) -> None:
        """One question and its answer."""
        worker = self.server.worker
        try:
            limit = worker.desk.policy.max_bytes
            question = letter.unpack(link.receive(self.request, limit), limit)
            with nullcontext() if question.kind in ("health", "stop") else worker.busy:
                link.send(self.request, letter.pack(worker.reply(question)))
        except FedloomError as error:
            worker.tell(f"refused: {error}")
            link.send(self.request, letter.pack(Letter("hello", error=f"site {worker.desk.site!r}: {error}")))
