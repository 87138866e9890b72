"""What a method provides: the client half, the server half, and how replies become one."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from torch import Generator, Tensor

from fedloom.core.contracts.data import Tree


@dataclass
class Parcel:
    """What travels between server and client: trees by slot (``adapter``, ``base``, ``control`` ...), plain facts.

    Slot ``adapter`` is what a client loads or returns; what the server leaves out of it is as everyone's start adapter.
    Facts of a reply always hold ``examples``, those that the client holds, and ``steps``, those that it took.
    """

    trees: dict[str, Tree] = field(default_factory=dict)
    facts: dict[str, float | int | str] = field(default_factory=dict)


State = dict[str, Tree]
"""The server's whole state, slot by slot; a checkpoint is exactly this. Slot ``adapter`` is the global adapter, slot
``base`` (optional) the change to the base so far. Counters are 0-d tensors in slot ``counters``."""


@dataclass(frozen=True)
class ClientInfo:
    """What the server knows of a client. ``factor``: its alpha over that of the table [adapter]."""

    name: str
    examples: int
    rank: int
    factor: float = 1.0


Sampler = Callable[[Sequence[ClientInfo], int, np.random.Generator], list[ClientInfo]]
"""Who takes part: ``(clients, round, rng) -> cohort``, in the clients' order; ``round`` counts from 1."""


@dataclass
class LocalRun:
    """One client's local training, as its method sees it.

    ``start``: the adapter it began from. ``theta``: the live leaves. ``received``: the server's parcel. ``kept``: the
    client's own state from earlier rounds, by slot. ``losses()``: the loss of each training example at ``theta`` as it
    is, ``[examples]``. ``gradients()``: the gradient of one training example's loss after the other. Both are of all
    examples that the client holds, chosen or not, and without dropout, whose noise only the steps have. ``scratch``:
    free for hooks during this run. ``steps``, ``examples``: optimiser steps taken so far, training examples held.
    ``random``: what hooks draw from, a stream of this turn's own. ``total``: the steps that the run takes in all, from
    the first of them on. ``modalities``: which share of the client's examples has which modalities, by the words of
    ``present``; empty where nobody counted.
    """

    start: Tree
    theta: Tree
    received: Parcel
    kept: dict[str, Tree]
    examples: int
    lr: float
    losses: Callable[[], Tensor]
    gradients: Callable[[], Iterator[Tree]]
    steps: int = 0
    scratch: dict[str, Any] = field(default_factory=dict)
    random: Generator = field(default_factory=Generator)
    total: int = 0
    modalities: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Personal:
    """A second adapter that a client trains after the shared one, on the same data, and that never leaves it.

    ``begin(shared, own, scale)``: adapter and change to the base that its training begins with, from the global model
    (its whole adapter, and slot ``base`` where there is one), the client's own adapter as its last turn left it
    (``None`` before its first), and the factor of every B A. ``model(shared, own, scale)``: the same of the model that
    answers the client's examples. ``term(run)``: added to the mean batch loss; ``run.received`` is the global model.
    """

    begin: Callable[[Parcel, Tree | None, float], tuple[Tree, Tree]]
    model: Callable[[Parcel, Tree | None, float], tuple[Tree, Tree]]
    term: Callable[[LocalRun], Tensor] | None = None


@dataclass(frozen=True)
class Local:
    """The client half of a method; every part may be absent.

    ``fits(adapter)`` is called before a run begins, with everyone's start adapter; it raises a ``FedloomError`` where
    the method can do nothing with that. A turn asks for the others in this order, ``term``, ``backward`` and
    ``gradient`` and ``after`` anew in every step:

    - ``begin(run)``: called before all else.
    - ``choose(run)``: which of the client's examples the turn trains on, the personal adapter's as well: different
      indices from 0 to ``run.examples - 1``, at least one. A client counts by the examples that it holds, chosen or
      not: the reply's fact ``examples`` and every mean weighted by examples stay as they are; ``steps`` are fewer.
    - ``term(run)``: a scalar that is added to the mean batch loss.
    - ``backward(run, losses)``: in place of ``losses.mean().backward()``; ``losses`` ``[B]`` has a graph, and
      ``backward`` must set ``.grad`` of the leaves of ``run.theta``. The gradient of ``term`` is added to that
      afterwards, as it is: what ``backward`` does to the gradients of examples (to clip them, to add noise) it does not
      do to the term's, so a term beside it must not look at examples.
    - ``gradient(run)``: called after backward and before the optimiser's step; may change ``.grad`` of ``run.theta`` in
      place: every leaf has one, zero where the batch does not depend on it.
    - ``after(run)``: called after each of the optimiser's steps, while ``.grad`` is still that of the step; may change
      the leaves of ``run.theta`` in place.
    - ``end(run)``: called after the last step; may change the leaves of ``run.theta`` in place, and what it makes of
      them is the client's adapter.
    - ``rank(run)``: how many components of every LoRA pair, from the first, the reply has, at most those the client
      began with.
    - ``send(run)``: further slots for the reply (the shared part of the adapter is always sent).
    - ``keep(run)``: slots that the client keeps until its next turn (the unshared part of the adapter is always kept).
    - ``personal``: a second adapter, trained after that with ``personal.term`` alone.

    ``goes_on``: the optimiser of a turn begins with the state that it had at the end of the client's last one (its
    moments and step count), which the client keeps; without it, each turn has a new optimiser. ``reveals``: what each
    slot of ``send`` tells of the examples, in a word, by slot (``"control": "gradients"``), and ``"rank": "rank"``
    where there is a ``rank``: nothing else leaves the client. ``fedloom.core.compose`` makes one of several.
    """

    begin: Callable[[LocalRun], None] | None = None
    term: Callable[[LocalRun], Tensor] | None = None
    gradient: Callable[[LocalRun], None] | None = None
    send: Callable[[LocalRun], dict[str, Tree]] | None = None
    rank: Callable[[LocalRun], int] | None = None
    keep: Callable[[LocalRun], dict[str, Tree]] | None = None
    personal: Personal | None = None
    goes_on: bool = False
    reveals: Mapping[str, str] = field(default_factory=dict)
    choose: Callable[[LocalRun], Sequence[int]] | None = None
    backward: Callable[[LocalRun, Tensor], None] | None = None
    end: Callable[[LocalRun], None] | None = None
    after: Callable[[LocalRun], None] | None = None
    fits: Callable[[Tree], None] | None = None


@dataclass(frozen=True)
class Reduce:
    """How replies become one: a monoid. ``lower(merge(lift(r1), lift(r2)))`` is what the server steps with.

    ``lift(reply, client, start)``: ``start`` is the shared part of the adapter that the client began from, as it came
    out of the channel; what is lifted must not alias memory that ``merge`` changes. ``merge`` may reuse its first
    argument. ``additive``: what is merged stays as large, however many were lifted, so the server's memory does not
    grow with the number of clients. ``bounded``: slots of a reply that may hold numbers of any size, because the rule
    itself bounds what one client's do.
    """

    lift: Callable[[Parcel, ClientInfo, Tree], Any]
    merge: Callable[[Any, Any], Any]
    lower: Callable[[Any], Parcel]
    additive: bool
    bounded: tuple[str, ...] = ()


@dataclass(frozen=True)
class Server:
    """The server half. ``init(adapter, scale, clients)`` makes the state from the start adapter (``scale`` = alpha /
    rank, the factor of every B A; ``clients`` = how many there are in all). Where ranks differ, the start adapter has
    the largest. ``step(state, total)`` returns the next state; it must not change ``state``. ``send(state, client)`` is
    the parcel for one client; ``client=None`` asks for the global model itself (evaluation, export).
    """

    init: Callable[[Tree, float, int], State]
    step: Callable[[State, Parcel], State]
    send: Callable[[State, ClientInfo | None], Parcel]


@dataclass(frozen=True)
class Beside:
    """A small merge beside a method's own, whatever that is: a further monoid, and a state that follows it.

    ``slot``: its slot of the server's state, and of the server's parcels where ``send`` gives something. ``init`` makes
    that state from the start adapter. ``lift``, ``merge`` and ``lower`` are as those of ``Reduce``, additive, on the
    same replies; ``step(before, total)`` gives the next state, ``send(state)`` what each client gets of it (empty:
    nothing), ``figures(state)`` what stands in the record of a round. ``reads``: the slots of a reply that it reads
    beside the adapter. They are of no use to the method's own merge, and whatever numbers are in them, ``lift`` checks
    and bounds.
    """

    slot: str
    init: Callable[[Tree], Tree]
    lift: Callable[[Parcel, ClientInfo, Tree], Any]
    merge: Callable[[Any, Any], Any]
    lower: Callable[[Any], Tree]
    step: Callable[[Tree, Tree], Tree]
    send: Callable[[Tree], Tree]
    figures: Callable[[Tree], dict[str, float]]
    reads: tuple[str, ...] = ()


def everything(name: str) -> bool:
    """The predicate that takes every name."""
    return True


def nothing(name: str) -> bool:
    """The predicate that takes no name."""
    return False


Need = Literal["any", "pairs", "products", "weights", "squares"]
"""What a method needs of an adapter: nothing; LoRA pairs; pairs whose product is B A, with no R between; such pairs
beside weights, into which their product can be merged; or pairs with an R between."""


@dataclass(frozen=True)
class Method:
    """How clients learn and how their replies are merged: both halves, in one file.

    ``trains`` and ``shares`` are predicates on adapter tensor names: what learns at the client, and what of it leaves
    the client. ``mixed_ranks``, ``mixed_scales``: whether clients may have adapters of different rank, and of different
    alpha. ``pooled``: all data in one
    place: one client that holds everybody's data, which is no federation at all. ``needs``: what it needs of an
    adapter, looked at when an experiment is read. ``besides``: what is merged beside; ``reduce`` and ``server``
    do it already (``fedloom.core.beside.attached``).
    """

    reduce: Reduce
    server: Server
    local: Local = Local()
    trains: Callable[[str], bool] = everything
    shares: Callable[[str], bool] = everything
    mixed_ranks: bool = False
    mixed_scales: bool = False
    pooled: bool = False
    needs: Need = "any"
    besides: tuple[Beside, ...] = ()
