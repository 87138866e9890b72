"""The messages of one round: packing what goes out, checking what comes back, noting who did what."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from fedloom.channel import Channel
from fedloom.core import tree as trees
from fedloom.core import wire
from fedloom.core.contracts import ClientInfo, Job, Parcel, Reply, State, Tree
from fedloom.core.errors import FedloomError
from fedloom.federation.setup import Setup

LARGEST = 4
"""Adapters' worth of bytes that a reply may have, beside its header."""

LARGEST_LOSS = 3e38
"""No float32 is larger; a loss beyond it is no loss, and the mean of such would be no number."""


@dataclass
class Tally:
    """Who did what in one round, line by line as ``clients.jsonl`` holds it. ``travels``: whether parcels leave the
    process's own place; those of a pooled method do not, and count no bytes."""

    travels: bool = True
    lines: list[dict[str, Any]] = field(default_factory=list)

    def add(self, round: int, reply: Reply, down: int, facts: dict[str, Any], error: str) -> None:
        """Note one client's turn."""
        self.lines.append(
            {
                "round": round,
                "client": reply.client,
                "examples": int(facts.get("examples", 0)),
                "steps": int(facts.get("steps", 0)),
                "loss": float(facts.get("loss", 0.0)),
                "bytes_up": len(reply.parcel) if self.travels else 0,
                "bytes_down": down if self.travels else 0,
                "seconds": round_off(reply.seconds),
                "error": error,
            }
        )

    def void(self, reason: str) -> None:
        """Nothing noted so far counts: the bytes were sent, but the round is done again."""
        for line in self.lines:
            line["error"] = line["error"] or reason

    @property
    def left_out(self) -> list[dict[str, Any]]:
        """Clients whose reply did not count, with the reason."""
        keys = ("round", "client", "error")
        return [{key: line[key] for key in keys} for line in self.lines if line["error"]]


@dataclass
class Outbox:
    """Packs each client's parcel when the engine asks for it, and remembers what a right reply looks like (``sent``, on
    the meta device)."""

    setup: Setup
    number: int
    state: State
    cohort: list[ClientInfo]
    sent: dict[str, Tree] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    def jobs(self) -> Iterator[Job]:
        """One job a client, in the cohort's order."""
        shares = self.setup.method.shares
        for info in self.cohort:
            begun = time.perf_counter()
            parcel = self.setup.method.server.send(self.state, info)
            adapter = trees.select(parcel.trees["adapter"], shares)
            self.sent[info.name] = {name: value.to("meta") for name, value in adapter.items()}
            slots: dict[str, Tree] = {**parcel.trees, "adapter": adapter}
            coded = {slot: self.setup.down.encode(tree) for slot, tree in slots.items()}
            packed = wire.pack(Parcel(coded, parcel.facts))
            self.bytes[info.name] = len(packed)
            self.seconds += time.perf_counter() - begun
            yield Job(self.number, info.name, packed)


def open_reply(reply: Reply, sent: Tree, held: int, up: Channel) -> Parcel:
    """A client's reply, decoded and checked: the adapter's names, shapes and types, finite numbers, sensible facts.

    ``sent``: what its adapter must look like; ``held``: the examples that the client is known to train on. A reply may
    be ``LARGEST`` times as large as what its adapter takes: room for control variates and the like, not for more.

    Raises:
        FedloomError: no reply, or one that is not what was asked for.
    """
    if reply.error:
        raise FedloomError(reply.error)
    parcel = wire.unpack(reply.parcel, max_bytes=LARGEST * trees.nbytes(sent) + wire.MAX_HEADER)
    parcel.trees = {slot: up.decode(tree) for slot, tree in parcel.trees.items()}
    wire.check(parcel, {"adapter": sent})
    examples, steps, loss = (parcel.facts.get(fact) for fact in ("examples", "steps", "loss"))
    if not isinstance(examples, int) or examples != held:
        raise FedloomError(f"Parcel: fact 'examples' is {examples!r}, expected {held}, which the client holds.")
    if not isinstance(steps, int) or steps < 0:
        raise FedloomError(f"Parcel: fact 'steps' is {steps!r}, expected a whole number from 0.")
    if not isinstance(loss, int | float) or abs(loss) > LARGEST_LOSS:
        raise FedloomError(f"Parcel: fact 'loss' is {loss!r}, expected a number of at most {LARGEST_LOSS:g}.")
    return parcel


def in_order(replies: Iterable[Reply], cohort: list[ClientInfo]) -> Iterator[tuple[ClientInfo | None, Reply]]:
    """Replies in the cohort's order, whatever order they come in: sums of floats then have the same bits.

    Holds only replies that came before their turn. A second reply of a client, or one of a client that was not asked,
    comes at once, with ``None`` in the client's place.
    """
    waiting: dict[str, Reply] = {}
    awaited = {info.name for info in cohort}
    turn = 0
    for reply in replies:
        if reply.client not in awaited:
            yield None, reply
            continue
        awaited.remove(reply.client)
        waiting[reply.client] = reply
        del reply
        while turn < len(cohort) and cohort[turn].name in waiting:
            yield cohort[turn], waiting.pop(cohort[turn].name)
            turn += 1
    for info in cohort[turn:]:
        yield info, waiting.pop(info.name, Reply(info.name, error=f"client {info.name!r} did not answer."))


def round_off(seconds: float) -> float:
    """Seconds to the tenth of a millisecond."""
    return round(seconds, 4)
