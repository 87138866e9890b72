"""The Flower engine: clients at their own sites, reached through a SuperLink.

round.py <-> Sites.exchange <-> Grid <-> SuperLink <-> SuperNode <-> ClientApp <-> the site's worker

A site is known by its name, whatever node it is today. One letter a message; replies are taken as they come.
"""

import json
import os
import secrets
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flwr.app import Context, Message
from flwr.serverapp import Grid, ServerApp

from fedloom.core import config, wire
from fedloom.core import tree as trees
from fedloom.core.contracts import Engine, Job, Reply
from fedloom.core.errors import FedloomError
from fedloom.core.files import write_atomic
from fedloom.federation.messages import LARGEST
from fedloom.federation.result import content_fingerprint, data_fingerprint
from fedloom.federation.setup import Holding, Setup
from fedloom.site import records
from fedloom.site.letter import MAX_HEAD, Letter

POLL = 0.05
"""Seconds between two looks for replies at first; while nothing comes they grow to ``SLOWEST``."""

SLOWEST = 0.5
LOOK = 1.0
"""Seconds between two looks at which nodes there are."""

AT_ONCE = 8
"""Replies that are fetched with one request, and so in memory together."""

TRIES = 3
"""How often a message is sent that Flower loses."""

DAY = 86400.0

server_app = ServerApp()


@server_app.main()
def main(grid: Grid, context: Context) -> None:
    """The ServerApp: runs the experiment of the run's configuration, or goes on with what its folder holds."""
    from fedloom import engines

    given = context.run_config
    text, out = str(given["experiment"]), Path(str(given["out"]))
    experiment = config.parse(text, "the app's experiment") if "\n" in text else config.load(text)
    note = Note(out)
    note.write()
    try:
        engines.run(experiment, out.absolute(), resume=True, watch=Told(), grid=grid)
    except FedloomError as error:
        note.write(str(error))
        raise


@dataclass(frozen=True)
class Note:
    """A file beside the run folder in which the ServerApp says who it is, and why it gave up."""

    out: Path

    @property
    def file(self) -> Path:
        """Where it is."""
        return self.out.with_name(f".{self.out.name}.server")

    def write(self, error: str = "") -> None:
        """Say that this process runs the experiment, or why it gave up."""
        write_atomic(self.file, json.dumps({"process": os.getpid(), "error": error}).encode())

    def read(self) -> tuple[int, str]:
        """The process (0: none yet), and why it gave up."""
        if not self.file.exists():
            return 0, ""
        found = json.loads(self.file.read_text(encoding="utf-8"))
        return int(found["process"]), str(found["error"])


class Told:
    """Says what happens, a line at a time, for Flower's log."""

    def stage(self, name: str) -> None:
        """A part of the run begins."""
        print(f"fedloom: {name}", flush=True)

    def round(self, number: int, rounds: int, cohort: int) -> None:
        """A round begins."""
        print(f"fedloom: round {number}/{rounds}, {cohort} clients", flush=True)

    def reply(self, client: str, loss: float | None, bytes_up: int, bytes_down: int) -> None:
        """A reply was folded in."""
        print(f"fedloom: {client} answered", flush=True)

    def left_out(self, client: str, error: str) -> None:
        """A reply did not count."""
        print(f"fedloom: left out: {error}", flush=True)

    def scored(self, number: int, score: float) -> None:
        """The model was evaluated."""
        print(f"fedloom: after round {number}: {score:.4f}", flush=True)


def flower(setup: Setup, run: str, grid: Grid) -> Engine:
    """Clients are sites on other machines, reached through Flower."""
    return Sites(setup, run, grid)


@dataclass
class Node:
    """A SuperNode that was seen: ``since``: when it was (last) activated; ``site``: the name of who answered there."""

    since: str
    key: bytes
    registered: str
    site: str = ""
    asked: str = ""
    error: str = ""


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
class Sites:
    """Exchanges letters with sites; see ``core.contracts.Engine``."""

    setup: Setup
    run: str
    grid: Grid
    nodes: dict[int, Node] = field(default_factory=dict)
    late: dict[str, Sent] = field(default_factory=dict)
    absent: dict[str, int] = field(default_factory=dict)
    _looked: float = 0.0

    def __post_init__(self) -> None:
        self.table = self.setup.experiment.engine
        self.toml = config.dump(self.setup.experiment)
        self.model = self.setup.backbone.fingerprint
        self._spool = tempfile.TemporaryDirectory(prefix="fedloom-")

    # --- who is there ---------------------------------------------------------------------------------------------

    def gather(self) -> None:
        """Wait until all sites are there, or ``engine.patience`` is over.

        Raises:
            FedloomError: fewer than the quorum are there; where sites hold their own data, fewer than all, the first
                time.
        """
        until = time.monotonic() + self.table.patience
        self.absent.clear()
        while (missing := self._missing()) and time.monotonic() < until:
            self._look()
            time.sleep(POLL)
        own = bool(self.setup.scenario.sites)
        unknown = [name for name in missing if own and name not in self.setup.told]
        if unknown or len(self.setup.names) - len(missing) < self.table.quorum * len(self.setup.names):
            why = "; ".join(sorted({node.error for node in self.nodes.values() if node.error}))
            raise FedloomError(
                f"sites that are not there after {self.table.patience:g} s: {', '.join(missing)}. {why} Mend: start "
                "them (`fedloom site start`, and a SuperNode), or give them longer with engine.patience."
            )

    def _missing(self) -> list[str]:
        there = {node.site for node in self.nodes.values()}
        return [name for name in self.setup.names if name not in there or name in self.absent]

    def _look(self) -> None:
        """See which nodes come and go; ask new ones, and absent sites, who they are."""
        if time.monotonic() - self._looked < LOOK * bool(self.nodes):
            self._hear()
            return
        self._looked = time.monotonic()
        online = self._online()
        for gone in self.nodes.keys() - online.keys():
            del self.nodes[gone]
        for number, now in online.items():
            node = self.nodes.get(number)
            if node is None or node.since != now.since:
                self.nodes[number] = node = now
            if not node.asked and (not node.site or node.site in self.absent):
                letter = Letter("hello", self.run, secrets.token_hex(8), experiment=self.toml)
                node.asked, node.error = self._push(letter, number), ""
        self._hear()

    def _online(self) -> dict[int, Node]:
        found = self.grid.get_nodes() if hasattr(self.grid, "get_nodes") else []
        return {each.node_id: Node(each.last_activated_at, each.public_key, each.name) for each in found}

    def _hear(self) -> None:
        """Take the answers of those who were asked who they are."""
        asked = {node.asked: node for node in self.nodes.values() if node.asked}
        for message in self._pull(list(asked)):
            node = asked[message.metadata.reply_to_message_id]
            node.asked = ""
            try:
                if message.has_error():
                    raise FedloomError(f"a node did not say who it is: {message.error.reason}")
                self._meet(node, records.letter_of(message, MAX_HEAD * 2))
            except FedloomError as error:
                node.error, node.site = str(error), ""
                print(f"fedloom: refused: {error}", flush=True)

    def _meet(self, node: Node, letter: Letter) -> None:
        """Take a site in.

        Raises:
            FedloomError: it refuses, or is not who or what it must be.
        """
        if letter.error:
            raise FedloomError(letter.error)
        facts, name = letter.facts, str(letter.facts.get("site", ""))
        if node.registered and node.registered != name:
            raise FedloomError(f"a node that is registered as {node.registered!r} says that it is {name!r}.")
        if name not in self.setup.names:
            raise FedloomError(f"site {name!r}: the experiment knows {', '.join(self.setup.names)}.")
        twin = next((other for other in self.nodes.values() if other.site == name and other is not node), None)
        if twin and not (node.registered and not twin.registered):
            raise FedloomError(f"site {name!r}: another node has that name. Mend: register nodes with names and keys.")
        if twin:
            twin.site = ""
        if facts.get("model") != self.model:
            raise FedloomError(
                f"site {name!r}: its model has weights {str(facts.get('model'))[:12]}, the server's {self.model[:12]}. "
                "Mend: give both the same checkpoint."
            )
        self._holds(name, facts)
        node.site, node.error = name, ""
        self.absent.pop(name, None)

    def _holds(self, name: str, facts: dict[str, Any]) -> None:
        train, test, data = facts.get("train"), facts.get("test"), facts.get("data")
        if type(train) is not int or type(test) is not int or not isinstance(data, str) or min(train, test) < 0:
            raise FedloomError(f"site {name!r}: it does not say what it holds.")
        if not self.setup.scenario.sites:
            here = f"{data_fingerprint(self.setup)}/{content_fingerprint(self.setup)}"
            if data != here:
                raise FedloomError(f"site {name!r}: its data is not the server's. Mend: the same files and fonts.")
            return
        holding = Holding(train, test, data)
        if self.setup.told.setdefault(name, holding) != holding:
            raise FedloomError(f"site {name!r}: its data is not what it had when the run began. Mend: put it back.")

    # --- one exchange ---------------------------------------------------------------------------------------------

    def exchange(self, jobs: Iterable[Job]) -> Iterator[Reply]:
        """Replies as they come; a site that is lost, or over its deadline, costs its turn."""
        pending: dict[str, Sent] = {}
        try:
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
                self._look()
                if pending and pause > POLL:
                    time.sleep(pause)
        finally:
            for number, sent in pending.items():  # they were not needed any more
                self.late[number] = sent

    def _begin(self, job: Job, pending: dict[str, Sent]) -> Iterator[Reply]:
        node = self._node_of(job.client)
        if node is None:
            since = self.absent.get(job.client)
            told = f"has not been heard of since round {since}" if since else "is not connected"
            yield Reply(job.client, error=f"client {job.client!r}, round {job.round}: the site {told}.")
            return
        file = Path(self._spool.name) / f"{job.kind}-{job.round}-{len(pending)}"
        file.write_bytes(job.parcel)
        light = Job(job.round, job.client, b"", job.kind, job.counted)
        sent = Sent(light, secrets.token_hex(8), node, self._since(node), time.monotonic(), file)
        pending[self._send(sent, job.parcel)] = sent

    def _node_of(self, client: str) -> int | None:
        if client in self.absent:
            return None
        return next((number for number, node in self.nodes.items() if node.site == client), None)

    def _since(self, node: int) -> str:
        return self.nodes[node].since

    def _send(self, sent: Sent, parcel: bytes) -> str:
        job = sent.job
        letter = Letter(
            job.kind,
            self.run,
            sent.nonce,
            job.client,
            job.round,
            job.counted,
            self.toml,
            self.model,
            parcel=parcel,
        )
        return self._push(letter, sent.node)

    def _push(self, letter: Letter, node: int) -> str:
        ttl = self.table.deadline + self.table.patience if self.table.deadline else DAY
        (number,) = self.grid.push_messages([records.question(letter, node, ttl)])
        if not number:  # the run ends here, and goes on as another one
            raise RuntimeError("the SuperLink takes no message for this run any more")
        return str(number)

    def _pull(self, numbers: list[str]) -> Iterator[Message]:
        for begin in range(0, len(numbers), AT_ONCE):
            yield from self.grid.pull_messages(numbers[begin : begin + AT_ONCE])

    def _replies(self, pending: dict[str, Sent]) -> Iterator[Reply]:
        """What came; a message that Flower lost is sent again."""
        for message in self._pull([*pending, *self.late]):
            number = message.metadata.reply_to_message_id
            if number in self.late:
                yield from self._too_late(message, self.late.pop(number))
                continue
            sent = pending.pop(number)
            if message.has_error() and sent.tries < TRIES and (node := self._node_of(sent.job.client)) is not None:
                self._again(sent, node, pending)
                continue
            sent.file.unlink(missing_ok=True)
            yield self._opened(message, sent)

    def _again(self, sent: Sent, node: int, pending: dict[str, Sent]) -> None:
        sent.node, sent.since, sent.lost = node, self._since(node), 0.0
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
                return Reply(job.client, error=letter.error, seconds=letter.seconds)
            if (letter.run, letter.nonce, letter.client, letter.round) != (
                self.run,
                sent.nonce,
                job.client,
                job.round,
            ):
                raise FedloomError("it answers something else than it was asked.")
            return Reply(job.client, letter.parcel, seconds=letter.seconds)
        except FedloomError as error:
            return Reply(job.client, error=f"client {job.client!r}, round {job.round}: {error}")

    def _largest(self, job: Job) -> int:
        """Bytes of the largest reply that is read."""
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
            site, node = sent.job.client, self._node_of(sent.job.client)
            if node is not None and (node, self._since(node)) != (sent.node, sent.since) and sent.tries < TRIES:
                del pending[number]
                self._again(sent, node, pending)
                continue
            sent.lost = (sent.lost or now) if node is None else 0.0
            over = self.table.deadline and now - sent.at > self.table.deadline
            if over or (not self.table.deadline and sent.lost and now - sent.lost > self.table.patience):
                self.late[number] = pending.pop(number)
                self.absent[site] = sent.job.round
                told = f"no reply within {self.table.deadline:g} s" if over else "the site is lost"
                yield Reply(site, error=f"client {site!r}, round {sent.job.round}: {told}.")

    def close(self) -> int:
        """Sites go on without us."""
        self._spool.cleanup()
        return 0
