"""Flower's Grid without Flower's processes: a node is a function of a letter, and the clock moves only in ``sleep``."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flwr.app import Error, Message
from flwr.common.constant import ErrorCode
from flwr.proto.node_pb2 import NodeInfo
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity

from fedloom.core.contracts import Job
from fedloom.engines import flower, flower_simulation
from fedloom.engines._flower import directory
from fedloom.engines.flower import Sites
from fedloom.federation.inputs import told_of_data
from fedloom.federation.setup import Setup
from fedloom.site import records
from fedloom.site.letter import Letter, pack
from tests.federation import toy

LOST = Error(1, "the node is gone")
"""What Flower answers for a ClientApp that it could not run."""

AWAY = Error(ErrorCode.NODE_UNAVAILABLE, "the node is offline")
"""What Flower answers, once, for a message to a node whose last heartbeat was too long ago."""

EXPIRED = Error(ErrorCode.MESSAGE_UNAVAILABLE, "the message is not known any more")
"""What Flower answers for a message that has outlived its time."""

Answer = Callable[[Letter], Letter | bytes | Error | None]
"""What a node makes of a letter: its answer, any bytes, an error of Flower's, or ``None``: nothing ever comes."""


def identify(patch: pytest.MonkeyPatch) -> None:
    """Let this process make messages, as Flower lets a ServerApp."""
    for name, number in (("_run_id", 1), ("_node_id", 1), ("_task_id", 1)):
        patch.setattr(TaskIdentity, name, number)


class Clock:
    """A clock that stands still but for ``sleep``; a wait of ``limit`` seconds in all is one without an end."""

    def __init__(self, limit: float = 10_000.0) -> None:
        self.now, self.limit = 100.0, limit
        self._due: list[tuple[float, Callable[[], object]]] = []

    def use(self, patch: pytest.MonkeyPatch) -> None:
        """Let the engines wait by this clock."""
        fake = SimpleNamespace(monotonic=lambda: self.now, sleep=self.sleep)
        for module in (directory, flower, flower_simulation):
            patch.setattr(module, "time", fake)

    def sleep(self, seconds: float) -> None:
        """Time goes by."""
        self.now += seconds
        assert self.now < self.limit, "waited without an end"
        for entry in [entry for entry in self._due if entry[0] <= self.now]:
            self._due.remove(entry)
            entry[1]()

    def after(self, seconds: float, happens: Callable[[], object]) -> None:
        """Have something happen in so many seconds."""
        self._due.append((self.now + seconds, happens))


@dataclass
class FakeNode:
    """A SuperNode: ``name``: the one that it is registered under; ``since``: when it was activated; ``seconds`` until
    its reply to a letter is there."""

    answer: Answer
    name: str = ""
    since: str = "1"
    seconds: float = 0.0


@dataclass
class FakeGrid(Grid):
    """What the engine asks of a Grid. ``letters``: what was sent to which node, in order; ``pulled``: how many replies
    each request asked for; ``over``: the SuperLink has ended the run."""

    clock: Clock
    nodes: dict[int, FakeNode] = field(default_factory=dict)
    letters: list[tuple[int, Letter]] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    pulled: list[int] = field(default_factory=list)
    over: bool = False
    _replies: dict[str, tuple[float, int, Message]] = field(default_factory=dict)
    _open: dict[str, tuple[float, Message]] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def get_nodes(self) -> list[NodeInfo]:
        """The nodes that are online."""
        return [
            NodeInfo(node_id=number, last_activated_at=node.since, public_key=b"key", name=node.name)
            for number, node in self.nodes.items()
        ]

    def get_node_ids(self) -> list[int]:
        """Their numbers."""
        return list(self.nodes)

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Send messages; one to a node that nobody knows has no number, as in Flower."""
        return [self._push(message) for message in messages]

    def _push(self, message: Message) -> str:
        number, to = f"m{next(self._numbers)}", message.metadata.dst_node_id
        self.messages.append(message)
        letter = records.letter_of(message, 2**30)
        self.letters.append((to, letter))
        node = self.nodes.get(to)
        if node is None or self.over:
            return ""
        message.metadata.__dict__["_message_id"] = number
        self._open[number] = (self.clock.now, message)
        answer = node.answer(letter)
        if answer is not None:
            self.reply(message, answer, node.seconds)
        return number

    def reply(self, asked: Message, answer: Letter | bytes | Error, seconds: float = 0.0) -> None:
        """Have an answer to a message in so many seconds."""
        if isinstance(answer, Error):
            made = Message(answer, reply_to=asked)
        else:
            made = Message(records.content(pack(answer) if isinstance(answer, Letter) else answer), reply_to=asked)
        self._replies[asked.metadata.message_id] = (self.clock.now + seconds, asked.metadata.dst_node_id, made)

    def pull_messages(self, numbers: Iterable[str]) -> list[Message]:
        """The replies that are there, and errors for what never gets one; each comes once."""
        asked = set(numbers)
        for number in asked & self._open.keys():
            self._give_up(number)
        there = [number for number in asked if number in self._replies and self._replies[number][0] <= self.clock.now]
        self.pulled.append(len(asked))
        for number in there:
            self._open.pop(number, None)
        return [self._replies.pop(number)[2] for number in sorted(there)]

    def _give_up(self, number: str) -> None:
        """Answer in Flower's name for a node that is offline, or a message whose time is over."""
        pushed, message = self._open[number]
        due = number in self._replies and self._replies[number][0] <= self.clock.now
        if not due and self.clock.now - pushed > message.metadata.ttl:
            self.reply(message, EXPIRED)
        elif not due and message.metadata.dst_node_id not in self.nodes:
            self.reply(message, AWAY)

    def set_run(self, run: Any) -> None:
        """Nobody asks."""
        raise NotImplementedError

    run = property(lambda self: None)
    create_message = send_and_receive = set_run  # type: ignore[assignment]

    def lose(self, number: int) -> FakeNode:
        """A node is offline from now on (its last heartbeat was 20 s ago); replies on their way go with it."""
        self._replies = {key: value for key, value in self._replies.items() if value[1] != number}
        return self.nodes.pop(number)

    def sent(self, kind: str = "train", to: int | None = None) -> list[Letter]:
        """The letters of a kind that were sent (to a node), in order."""
        return [letter for node, letter in self.letters if letter.kind == kind and to in (None, node)]


OWN = ("scenario=sites", 'scenario.names=["0","1","2"]', "evaluation.where=clients")
"""Sites that hold data of their own."""


@dataclass
class Bench:
    """A clock, a grid, and the numbers of its nodes: 11 for client 0, 12 for 1, 13 for 2."""

    clock: Clock
    grid: FakeGrid
    made: list[Sites] = field(default_factory=list)

    def sites(self, *sets: str, nodes: Iterable[int] = (11, 12, 13)) -> Sites:
        """The engine, and a node for each of ``nodes``."""
        made = Sites(Setup(toy.experiment("engine.name=flower", *sets)), "run1", self.grid)
        self.setup = made.setup
        self.made.append(made)
        for number in nodes:
            self.add(number)
        return made

    def add(self, number: int, **given: Any) -> FakeNode:
        """A node; by default that of the client ``number - 11``."""
        node = FakeNode(**{"answer": self.answers(str(number - 11)), **given})
        self.grid.nodes[number] = node
        return node

    def facts(self, site: str) -> dict[str, str | int | float]:
        """What a site of these experiments says."""
        own = bool(self.setup.scenario.sites)
        data = "own" if own else told_of_data(self.setup)
        return {"site": site, "train": 6, "test": 3, "data": data, "model": "toy"}

    def answers(self, site: str, /, **changed: Any) -> Answer:
        """What a good site answers, but for some facts (``None``: it leaves one out)."""

        def answer(asked: Letter) -> Letter:
            if asked.kind == "hello":
                told = self.facts(site) | changed
                return asked.answer(facts={name: value for name, value in told.items() if value is not None})
            return asked.answer(f"{asked.kind} {asked.round} of {site}".encode(), seconds=2.0)

        return answer


@contextmanager
def hand_made(patch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A bench for one test."""
    toy.use(patch)
    identify(patch)
    clock = Clock()
    clock.use(patch)
    made = Bench(clock, FakeGrid(clock))
    yield made
    for sites in made.made:
        sites.close()


def job(client: str, round: int = 1, **rest: Any) -> Job:
    """A job whose parcel says whose it is."""
    return Job(round, client, f"parcel {round} for {client}".encode(), **rest)


def jobs(round: int = 1, clients: str = "012", **rest: Any) -> list[Job]:
    """A round's jobs."""
    return [job(client, round, **rest) for client in clients]


def gathered(sites: Sites) -> Sites:
    """The engine once everybody is there."""
    sites.gather()
    return sites


def known(sites: Sites) -> dict[int, str]:
    """Which site is behind which node."""
    return {number: node.site for number, node in sites.nodes.items()}


def spooled(sites: Sites) -> list[str]:
    """The letters that lie on disk."""
    return sorted(file.name for file in Path(sites._spool.name).iterdir())
