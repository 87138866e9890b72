"""The messages of one round: packing what goes out, checking what comes back, noting who did what."""

import struct
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from fedloom.channel import Channel
from fedloom.core import lora, wire
from fedloom.core import tree as trees
from fedloom.core.contracts import ClientInfo, Job, Parcel, Reply, State, Tree
from fedloom.core.errors import FedloomError
from fedloom.federation.checkpoints import START
from fedloom.federation.facts import PRIVATE, RANK, SPLIT, check_turn
from fedloom.federation.setup import Setup
from fedloom.federation.start import received, shared_start, tell_start

LARGEST = 4
"""Adapters' worth of bytes that a reply may have, beside its header."""

MOST_PARTS, LONGEST_PART = 64, 100
"""Parts of a reply that a line tells apart, and characters of their names."""


_COMPONENTS = {lora.A: 0, lora.B: 1, lora.R: 0}
"""Along which axis the tensors of a pair have its components."""


@dataclass
class Tally:
    """Who did what in one round, line by line as ``clients.jsonl`` holds it. ``travels``: whether parcels leave the
    process's own place; those of a pooled method do not, and count no bytes. ``losses``: a line's loss, also where the
    client lets only sums of such figures stand in a file."""

    travels: bool = True
    lines: list[dict[str, Any]] = field(default_factory=list)
    losses: list[float | None] = field(default_factory=list)
    _again: set[int] = field(default_factory=set)

    def add(self, round: int, reply: Reply, down: dict[str, int], facts: dict[str, Any], error: str) -> None:
        """Note one client's turn; ``down``: the bytes of what it was sent, by what they are."""
        up = _sizes(reply.parcel) if self.travels else {}
        down = down if self.travels else {}
        loss = float(facts["loss"]) if "loss" in facts else (None if facts else 0.0)
        self.losses.append(loss)
        self.lines.append(
            {
                "round": round,
                "client": reply.client,
                "examples": int(facts.get("examples", 0)),
                "steps": int(facts.get("steps", 0)),
                "loss": None if facts.get(PRIVATE) else loss,
                "bytes_up": sum(up.values()),
                "bytes_down": sum(down.values()),
                "parts_up": up,
                "parts_down": down,
                **{fact: int(facts[fact]) for fact in SPLIT if fact in facts},
                "seconds": round_off(reply.seconds),
                "error": error,
            }
        )

    def void(self, reason: str, client: str = "") -> None:
        """What counted so far does not: the turn of a ``client`` that is to blame, or all turns, since the round is
        done again. Their bytes were sent."""
        for number, line in enumerate(self.lines):
            if not line["error"] and client in ("", line["client"]):
                line["error"] = reason
                self._again |= set() if client else {number}

    @property
    def counted(self) -> list[str]:
        """The clients whose turn counts, in the order of their lines."""
        return [line["client"] for line in self.lines if not line["error"]]

    @property
    def loss(self) -> float:
        """The mean over the examples of those who counted and told theirs."""
        pairs = zip(self.lines, self.losses, strict=True)
        told = [(line, loss) for line, loss in pairs if not line["error"] and loss is not None]
        if sum(line["loss"] is None for line, _ in told) < 2:  # a sum of one would be no secret
            told = [(line, loss) for line, loss in told if line["loss"] is not None]
        total = sum(float(line["examples"]) * loss for line, loss in told)
        return total / max(1, sum(int(line["examples"]) for line, _ in told))

    @property
    def left_out(self) -> list[dict[str, Any]]:
        """Clients whose reply did not count, with the reason; not who only had to do it again, and then counted."""
        keys = ("round", "client", "error")
        counted = set(self.counted)
        told = [(n, line) for n, line in enumerate(self.lines) if n not in self._again or line["client"] not in counted]
        return [{key: line[key] for key in keys} for _, line in told if line["error"]]

    @property
    def reasons(self) -> list[str]:
        """Why replies could not be used, each reason once."""
        told = (line["error"] for number, line in enumerate(self.lines) if number not in self._again)
        return list(dict.fromkeys(filter(None, told)))


@dataclass
class Outbox:
    """Packs each client's parcel when the engine asks for it; ``sizes``: its bytes, by what they are. ``counted``: the
    last round in which a client's reply counted."""

    setup: Setup
    number: int
    state: State
    cohort: list[ClientInfo]
    counted: Mapping[str, int] = field(default_factory=dict)
    kind: Literal["train", "evaluate", "update"] = "train"
    sizes: dict[str, dict[str, int]] = field(default_factory=dict)
    seconds: float = 0.0

    def jobs(self) -> Iterator[Job]:
        """One job a client, in the cohort's order."""
        for info in self.cohort:
            begun = time.perf_counter()
            packed = wire.pack(self._coded(info))
            self.sizes[info.name] = wire.sizes(packed)
            self.seconds += time.perf_counter() - begun
            yield Job(self.number, info.name, packed, self.kind, self.counted.get(info.name, 0))

    def start(self, info: ClientInfo) -> Tree:
        """The shared part of the adapter that a client began from: what it was sent, as it came out of the channel.

        Made again when it is needed, rather than kept for every client of the cohort.
        """
        coded = self._coded(info, only="adapter").trees
        return shared_start(self.setup, info, received(self.setup, info, coded))

    def _coded(self, info: ClientInfo, only: str = "") -> Parcel:
        """What a client is sent, or one slot of it. A client whose replies never counted has not the start adapter yet,
        where it is more than drawn: it goes in a slot of its own, and its hash with every parcel."""
        if self.kind == "update":
            return Parcel()
        parcel, setup = self.setup.method.server.send(self.state, info), self.setup
        slots = {slot: tree for slot, tree in parcel.trees.items() if only in ("", slot)}
        like = shared_start(setup, info)
        if "adapter" in slots:  # what is as everyone's start adapter has been there since the beginning
            shared = trees.select(slots["adapter"], setup.method.shares)
            slots["adapter"] = {n: value for n, value in shared.items() if n not in like or _differs(value, like[n])}
        coded = Parcel({slot: setup.down.encode(tree, like) for slot, tree in slots.items()}, dict(parcel.facts))
        if not only:
            tell_start(setup, coded, told=bool(self.counted.get(info.name)))
        return coded


def check_ranks(slots: Mapping[str, Tree], rank: int) -> None:
    """See that no pair that a server sends has more components than its client has, ``rank``; one of the change to the
    base, which nobody trains and which grows with every reply that is stacked in it, no more than a weight can have.

    Raises:
        FedloomError: naming the first tensor that has.
    """
    for slot in ("adapter", START, "base"):
        for name, value in slots.get(slot, {}).items():
            axis = next((axis for half, axis in _COMPONENTS.items() if name.endswith(half)), None)
            if axis is None or value.ndim != 2:
                continue
            found, most = value.shape[axis], value.shape[1 - axis] if slot == "base" else rank
            if found > most:
                raise FedloomError(
                    f"Parcel: tensor '{slot}/{name}' is {list(value.shape)}, of rank {found}; expected at most {most}, "
                    f"{'as its weight has' if slot == 'base' else 'the rank of its client'}."
                )


def coded_reply(slots: dict[str, Tree], start: Tree, memory: Tree, up: Channel, seed: int) -> tuple[Parcel, Tree]:
    """A client's slots as they go on the wire, and what error feedback keeps of what they lose (empty without it).

    Where there is a channel, the adapter travels as its change since ``start``, the shared part that the client began
    from; ``memory``: what was kept the last time. Other slots travel as they are, in the channel's number format.
    """
    if not up.stages:
        return Parcel(slots), {}
    change = trees.sub(slots["adapter"], start)
    if memory:
        change = trees.add(change, memory)
    coded = {slot: up.encode(tree, start, seed=seed) for slot, tree in slots.items() if slot != "adapter"}
    sent = up.encode(change, start, change=True, seed=seed)
    left = trees.sub(change, up.decode(sent, start, change=True)) if up.feeds_back else {}
    return Parcel({"adapter": sent, **coded}), left


def cut(start: Tree, reply: Parcel) -> Tree:
    """What a client began from, in the rank of its reply: the first components of every pair.

    Raises:
        FedloomError: the reply's rank is no whole number from 1 to that of ``start``.
    """
    rank = reply.facts.get(RANK)
    if rank is None:
        return start
    highest = max((a.shape[0] for a, _ in lora.pairs(start).values()), default=None)
    if highest is not None and (not isinstance(rank, int) or not 1 <= rank <= highest):
        raise FedloomError(f"Parcel: fact 'rank' is {rank!r}, expected a whole number from 1 to {highest}.")
    return lora.truncate(start, int(rank))


def open_reply(reply: Reply, start: Tree, held: int, steps: int, up: Channel, *, cuts: bool = False) -> Parcel:
    """A client's reply, decoded and checked: the adapter's names, shapes and types, finite numbers, sensible facts.

    ``start``: the shared part of the adapter that it began from; ``held``, ``steps``: the examples and optimiser steps
    that the client is known to train with. A reply may be ``LARGEST`` times as large as what its adapter takes: room
    for control variates and the like, not for more. ``cuts``: whether the method lets a client cut its rank.

    Raises:
        FedloomError: no reply, or one that is not what was asked for.
    """
    if reply.error:
        raise FedloomError(reply.error)
    parcel = wire.unpack(reply.parcel, max_bytes=LARGEST * trees.nbytes(start) + wire.MAX_HEADER)
    if RANK in parcel.facts and not cuts:
        raise FedloomError("Parcel: fact 'rank' is there, but this method's clients do not cut their ranks.")
    start = cut(start, parcel)
    if up.stages and "adapter" in parcel.trees:
        change = up.decode(parcel.trees.pop("adapter"), start, change=True)
        parcel.trees = {slot: up.decode(tree, start) for slot, tree in parcel.trees.items()}
        parcel.trees["adapter"] = trees.add(start, change)
    wire.check(parcel, {"adapter": start})
    check_turn(parcel, held, steps)
    return parcel


def _differs(one: Tensor, other: Tensor) -> bool:
    return one.shape != other.shape or one.dtype != other.dtype or not torch.equal(one, other)


def _sizes(blob: bytes) -> dict[str, int]:
    """Where a reply's bytes go; those of one that cannot be read, or has parts without end, are all ``unreadable``."""
    try:
        found = wire.sizes(blob)
        sound = all(type(count) is int and count >= 0 for count in found.values()) and sum(found.values()) == len(blob)
        named = len(found) <= MOST_PARTS and all(len(n) <= LONGEST_PART and wire.SLOT.fullmatch(n) for n in found)
        if sound and named:
            return found
    except (ValueError, TypeError, KeyError, AttributeError, struct.error, RecursionError):
        pass
    return {"unreadable": len(blob)} if blob else {}


def round_off(seconds: float) -> float:
    """Seconds to the tenth of a millisecond."""
    return round(seconds, 4)
