"""Who is there: from Flower's nodes, which come and go, to the sites that an experiment knows by name."""

import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from flwr.app import Message
from flwr.serverapp import Grid

from fedloom.core import config, shares
from fedloom.core.errors import FedloomError
from fedloom.core.printable import in_line
from fedloom.federation.inputs import model_of, others, told_of_data
from fedloom.federation.places import Holding
from fedloom.federation.setup import Setup
from fedloom.site import records
from fedloom.site.letter import MAX_HEAD, Letter

POLL = 0.05
"""Seconds between two looks for replies."""

LOOK = 1.0
"""Seconds between two looks at which nodes there are."""

AT_ONCE = 8
"""Replies that are fetched with one request, and so in memory together."""

AGAIN = 10.0
"""Seconds after which a node that was refused is asked again who it is."""

MOST = 10**7
"""The most examples that a site is believed to hold."""

LOST = "lost"
"""What the number begins with of a message that is at no node."""

DAY = 86400.0


def plain(told: str) -> str:
    """What a site says, as one line that can stand in a log: nothing in it moves a terminal or fills a disk."""
    return in_line(told[:600])


@dataclass
class Node:
    """A SuperNode that was seen: ``since``: when it was (last) activated; ``site``: the name of who answered there;
    ``again``: when to ask one that was refused once more."""

    since: str
    key: bytes
    registered: str
    site: str = ""
    asked: str = ""
    error: str = ""
    again: float = 0.0


@dataclass
class Directory:
    """The sites of an experiment and the nodes at which they are now. ``absent``: sites that did not answer in time,
    and since which round they have not been heard of."""

    setup: Setup
    run: str
    grid: Grid
    nodes: dict[int, Node] = field(default_factory=dict)
    absent: dict[str, int] = field(default_factory=dict)
    _looked: float = 0.0

    def __post_init__(self) -> None:
        self.table = self.setup.experiment.engine
        self.toml = config.dump(self.setup.experiment)
        self.model = self.setup.backbone.fingerprint

    def gather(self) -> None:
        """Wait until all sites are there, or ``engine.patience`` is over.

        Raises:
            FedloomError: fewer than the quorum are there; where sites hold their own data, fewer than all, the first
                time.
        """
        until = time.monotonic() + self.table.patience
        self.absent.clear()
        self.look()
        while (missing := self._missing()) and time.monotonic() < until:
            time.sleep(POLL)
            self.look()
        own = bool(self.setup.scenario.sites)
        unknown = [name for name in missing if own and name not in self.setup.told]
        if unknown or len(self.setup.names) - len(missing) < shares.count(
            self.table.quorum, len(self.setup.names), "up"
        ):
            why = "; ".join(sorted({node.error for node in self.nodes.values() if node.error}))
            raise FedloomError(
                f"sites that are not there after {self.table.patience:g} s: {', '.join(missing)}. {why} Fix: start "
                "them (`fedloom site start`, and a SuperNode), or give them longer with engine.patience."
            )

    def _missing(self) -> list[str]:
        there = {node.site for node in self.nodes.values()}
        return [name for name in self.setup.names if name not in there or name in self.absent]

    def look(self) -> None:
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
            if not node.asked and (not node.site or node.site in self.absent) and self._looked >= node.again:
                letter = Letter("hello", self.run, secrets.token_hex(8), experiment=self.toml)
                node.asked = self.push(letter, number)
        self._hear()

    def _online(self) -> dict[int, Node]:
        found = self.grid.get_nodes() if hasattr(self.grid, "get_nodes") else []
        return {each.node_id: Node(each.last_activated_at, each.public_key, each.name) for each in found}

    def _hear(self) -> None:
        """Take the answers of those who were asked who they are."""
        asked = {node.asked: node for node in self.nodes.values() if node.asked}
        for message in self.pull(list(asked)):
            node = asked[message.metadata.reply_to_message_id]
            node.asked = ""
            try:
                if message.has_error():
                    raise FedloomError(f"a node did not say who it is: {message.error.reason}")
                self._meet(node, records.letter_of(message, MAX_HEAD * 2))
            except Exception as error:  # whatever a node makes go wrong costs that node, and no more
                node.error, node.site = plain(str(error)), ""
                node.again = time.monotonic() + AGAIN
                print(f"fedloom: refused: {node.error}", flush=True)

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
            raise FedloomError(f"site {name!r}: another node has that name. Fix: register nodes with names and keys.")
        if twin:
            twin.site = ""
        if facts.get("model") != self.model:
            files = others(facts, model_of(self.setup))[:5] or ["weights, configuration, processor or tokenizer"]
            raise FedloomError(
                f"site {name!r}: its model has the hash {str(facts.get('model'))[:12]}, the server's {self.model[:12]}"
                f": other {', '.join(files)}. Give both the same files."
            )
        self._holds(name, facts)
        node.site, node.error = name, ""
        self.absent.pop(name, None)

    @cached_property
    def _data(self) -> str:
        """What a site says of data that was dealt."""
        return told_of_data(self.setup)

    def _holds(self, name: str, facts: dict[str, Any]) -> None:
        train, test, data = facts.get("train"), facts.get("test"), facts.get("data")
        counts = [count for count in (train, test) if type(count) is int and 0 <= count <= MOST]
        if len(counts) < 2 or not isinstance(data, str):
            raise FedloomError(f"site {name!r}: it does not say what it holds.")
        if not self.setup.scenario.sites:
            if data != self._data:
                raise FedloomError(f"site {name!r}: its data is not the server's. Fix: the same files and fonts.")
            return
        holding = Holding(counts[0], counts[1], data)
        if self.setup.told.setdefault(name, holding) != holding:
            raise FedloomError(f"site {name!r}: its data is not what it had when the run began. Fix: put it back.")

    def node_of(self, client: str) -> int | None:
        """The node at which a site is; ``None``: it is not there."""
        if client in self.absent:
            return None
        return next((number for number, node in self.nodes.items() if node.site == client), None)

    def doubt(self, node: int) -> None:
        """Have a node say who it is once more: it was away, whether or not that was seen."""
        self.nodes.pop(node, None)

    def since(self, node: int) -> str:
        """When a node was activated."""
        return self.nodes[node].since

    def push(self, letter: Letter, node: int) -> str:
        """Send a letter; returns its message's number, or nothing where the node is away.

        Raises:
            RuntimeError: the SuperLink takes no message for this run any more.
        """
        ttl = self.table.deadline + self.table.patience if self.table.deadline else DAY
        (number,) = self.grid.push_messages([records.question(letter, node, ttl)])
        if not number and node in self._online():  # the run ends here, and goes on as another one
            raise RuntimeError("the SuperLink takes no message for this run any more")
        if not number:  # it is away: it is asked again when it is back
            self.nodes.pop(node, None)
        return str(number or "")

    def pull(self, numbers: list[str]) -> Iterator[Message]:
        """The answers that are there to messages with these numbers."""
        sent = [number for number in numbers if not number.startswith(LOST)]
        for begin in range(0, len(sent), AT_ONCE):
            yield from self.grid.pull_messages(sent[begin : begin + AT_ONCE])
