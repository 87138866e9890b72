"""The Flower engine: clients at their own sites, reached through a SuperLink.

round.py <-> Sites.exchange <-> Grid <-> SuperLink <-> SuperNode <-> ClientApp <-> the site's worker

A site is known by its name, whatever node it is today. One letter a message; replies are taken as they come.
"""

import os
import secrets
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event, Thread

from flwr.app import Context, Message
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid, ServerApp

from fedloom import engines
from fedloom.core import config, wire
from fedloom.core import tree as trees
from fedloom.core.contracts import Engine, Job, Reply
from fedloom.core.errors import FedloomError
from fedloom.engines._flower.directory import LOST, POLL, Directory, plain
from fedloom.engines._flower.notes import Note, Told
from fedloom.federation import begin
from fedloom.federation.messages import LARGEST
from fedloom.federation.setup import Setup
from fedloom.site import records
from fedloom.site.letter import MAX_HEAD, Letter
from fedloom.site.quick import look_again_soon

SLOWEST = 0.5
"""Seconds between two looks for replies when none has come for a while."""

TRIES = 3
"""How often a message is sent that Flower loses."""

server_app = ServerApp()


@server_app.main()
def main(grid: Grid, context: Context) -> None:
    """The ServerApp: runs the experiment of the run's configuration, or goes on with what its folder holds."""
    given = context.run_config
    text, out = str(given["experiment"]), Path(str(given["out"]))
    experiment = config.parse(text, "the app's experiment") if "\n" in text else config.load(text)
    look_again_soon()
    note = Note(out)
    with note.hold():
        Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
        note.write()
        try:
            engines.run(experiment, out.absolute(), resume=True, watch=Told(), grid=grid)
        except FedloomError as error:
            note.write(str(error))
            raise


def end_with(parent: int) -> None:
    """End this process once its parent is gone: Flower's own watch may wait for ever for a SuperLink that is not there.
    What was finished is saved."""
    never = Event()
    while os.getppid() == parent:
        never.wait(1)
    never.wait(5)  # for an end that is under way
    os._exit(1)


def flower(setup: Setup, run: str, grid: Grid) -> Engine:
    """Clients are sites on other machines, reached through Flower."""
    return Sites(setup, run, grid)


@dataclass
class Sent:
    """A message under way: to which node, activated when; ``file``: its letter, for a second try."""

    job: Job
    nonce: str
    node: int
    since: str
    at: float
    file: Path
    tries: int = 1
    lost: float = 0.0


@dataclass
class Sites(Directory):
    """Exchanges letters with sites; see ``core.contracts.Engine``. ``late``: messages that nobody waits for now."""

    late: dict[str, Sent] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._came: list[Reply] = []  # late replies that came between two exchanges
        self._spool = tempfile.TemporaryDirectory(prefix="fedloom-")

    def exchange(self, jobs: Iterable[Job]) -> Iterator[Reply]:
        """Replies as they come; a site that is lost, or over its deadline, costs its turn."""
        pending: dict[str, Sent] = {}
        try:
            yield from self._came
            self._came.clear()
            yield from self._replies(pending)
            for job in jobs:
                yield from self._begin(job, pending)
            pause = POLL
            while pending:
                pause = min(SLOWEST, pause * 1.2)
                for reply in self._replies(pending):
                    pause = POLL
                    yield reply
                    del reply  # or it stays in memory until the next one comes
                yield from self._overdue(pending)
                self.look()
                if pending and pause > POLL:
                    time.sleep(pause)
        finally:
            for number, sent in pending.items():  # they were not needed any more
                self._leave(number, sent)

    def gather(self) -> None:
        """Wait for all sites, as ``Directory.gather``, and then for those that are still at work on an earlier round.

        Raises:
            FedloomError: as there.
        """
        until = time.monotonic() + self.table.patience
        super().gather()
        while any(map(self._at_work, self.late.values())) and time.monotonic() < until:
            self._came += self._replies({})
            self.look()
            time.sleep(POLL)

    def _at_work(self, sent: Sent) -> bool:
        node = self.node_of(sent.job.client)
        return node is not None and (node, self.since(node)) == (sent.node, sent.since)

    def _leave(self, number: str, sent: Sent) -> None:
        """Wait no longer for a message's reply; one that never reached its node is forgotten."""
        if number.startswith(LOST):
            sent.file.unlink(missing_ok=True)
        else:
            self.late[number] = sent

    def _begin(self, job: Job, pending: dict[str, Sent]) -> Iterator[Reply]:
        node = self.node_of(job.client)
        if node is None:
            since = self.absent.get(job.client)
            told = f"has not been heard of since round {since}" if since else "is not connected"
            yield Reply(job.client, error=f"client {job.client!r}, round {job.round}: the site {told}.")
            return
        held = (sent for sent in self.late.values() if sent.job.client == job.client and sent.node == node)
        if slow := next((sent for sent in held if sent.since == self.since(node)), None):
            told = f"the site is still at round {slow.job.round}"
            yield Reply(job.client, error=f"client {job.client!r}, round {job.round}: {told}.")
            return
        nonce = secrets.token_hex(8)
        file = Path(self._spool.name) / nonce
        file.write_bytes(job.parcel)
        light = replace(job, parcel=b"")
        sent = Sent(light, nonce, node, self.since(node), time.monotonic(), file)
        pending[self._send(sent, job.parcel)] = sent

    def _send(self, sent: Sent, parcel: bytes) -> str:
        letter = Letter.of(replace(sent.job, parcel=parcel), self.run, sent.nonce, self.toml, self.model)
        return self.push(letter, sent.node) or f"{LOST} {sent.nonce} {sent.tries}"

    def _replies(self, pending: dict[str, Sent]) -> Iterator[Reply]:
        """What came; a message that Flower lost is sent again."""
        for message in self.pull([*pending, *self.late]):
            number = message.metadata.reply_to_message_id
            if number in self.late:
                yield from self._too_late(message, self.late.pop(number))
                continue
            sent = pending.pop(number)
            if message.has_error() and message.error.code == ErrorCode.NODE_UNAVAILABLE:
                pending[f"{LOST} {sent.nonce} {sent.tries}"] = sent  # until it is back, or over its time
                sent.since = ""
                self.doubt(sent.node)
                continue
            if message.has_error() and sent.tries < TRIES and (node := self.node_of(sent.job.client)) is not None:
                self._again(sent, node, pending)
                continue
            sent.file.unlink(missing_ok=True)
            yield self._opened(message, sent)

    def _again(self, sent: Sent, node: int, pending: dict[str, Sent]) -> None:
        sent.node, sent.since, sent.lost = node, self.since(node), 0.0
        sent.tries += 1
        pending[self._send(sent, sent.file.read_bytes())] = sent

    def _opened(self, message: Message, sent: Sent) -> Reply:
        """A message as the reply to what was sent; nothing in it is believed that was not checked."""
        job = sent.job
        try:
            if message.has_error():
                raise FedloomError(f"its ClientApp did not answer: {message.error.reason}")
            letter = records.letter_of(message, self._largest(job))
            if letter.error:
                return Reply(job.client, error=plain(letter.error), seconds=letter.seconds)
            if (letter.run, letter.nonce, letter.client, letter.round) != (
                self.run,
                sent.nonce,
                job.client,
                job.round,
            ):
                raise FedloomError("it answers something else than it was asked.")
            return letter.replied
        except Exception as error:  # as in ``_hear``
            return Reply(job.client, error=f"client {job.client!r}, round {job.round}: {plain(str(error))}")

    def _largest(self, job: Job) -> int:
        """Bytes of the largest reply that is read."""
        if job.kind == "update":
            return begin.largest(self.setup) + 2 * MAX_HEAD
        start = self.setup.start(self.setup.clients[job.client])
        return LARGEST * trees.nbytes(start) + wire.MAX_HEADER + 2 * MAX_HEAD

    def _too_late(self, message: Message, sent: Sent) -> Iterator[Reply]:
        sent.file.unlink(missing_ok=True)
        if message.has_error():  # it expired on its way
            return
        self.absent.pop(sent.job.client, None)
        parcel = self._opened(message, sent).parcel
        told = f"client {sent.job.client!r}: its reply to round {sent.job.round} came too late and was dropped."
        yield Reply(sent.job.client, parcel, error=told, late=True)

    def _overdue(self, pending: dict[str, Sent]) -> Iterator[Reply]:
        """Who is over the deadline, or lost for longer than is waited; a lost one that is back is asked again."""
        now = time.monotonic()
        for number, sent in list(pending.items()):
            site, node = sent.job.client, self.node_of(sent.job.client)
            moved = node is not None and (node, self.since(node)) != (sent.node, sent.since)
            if node is not None and moved and sent.tries < TRIES:
                del pending[number]
                self._again(sent, node, pending)
                continue
            sent.lost = (sent.lost or now) if node is None or moved else 0.0
            over = self.table.deadline and now - sent.at > self.table.deadline
            if over or (not self.table.deadline and sent.lost and now - sent.lost > self.table.patience):
                self._leave(number, pending.pop(number))
                self.absent[site] = sent.job.round
                told = f"no reply within {self.table.deadline:g} s" if over else "the site is lost"
                yield Reply(site, error=f"client {site!r}, round {sent.job.round}: {told}.")

    def close(self) -> int:
        """Sites go on without us."""
        self._spool.cleanup()
        return 0
