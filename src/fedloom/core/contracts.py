"""The records that the five axes are made of: what a task, scenario, model and method must provide.

    Sample --task.word--> Example --backbone.loss--> gradients --method--> Parcel --wire--> bytes

Everything here is data or a plain function; nothing imports a sibling room.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from PIL import Image
from torch import Tensor

Tree = dict[str, Tensor]
"""Named tensors; an adapter's names are PEFT's, as in ``adapter_model.safetensors``."""

Picture = Image.Image | Path
"""An image in memory, or the file that holds it (opened when it is needed)."""

IMAGE = "<image>"
"""Where a picture stands in a worded prompt; a backbone puts its own token there."""


# --- task ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sample:
    """One record of a data set. A modality that is missing is ``None``.

    ``choices`` are the answers to choose from (empty: free answer); with ``choice_images`` or ``choice_texts`` they are
    letters, one a picture or text. ``meta`` holds what scenarios partition by (``pack``, ``skill``, ``label`` ...).
    """

    id: str
    images: tuple[Picture, ...] | None
    text: str | None
    question: str | None
    choices: tuple[str, ...]
    answer: str
    choice_images: tuple[Picture, ...] = ()
    meta: Mapping[str, str] = field(default_factory=dict)
    choice_texts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Example:
    """A worded sample: all that a backbone sees.

    ``prompt`` holds one ``<image>`` mark for each of ``images``, in order. ``choices`` empty means free generation.
    A contrastive model reads a caption of each choice: ``caption.format(choice)``, or, where choices are but letters,
    ``captions``, one a choice. All of it is read as text: no control token of a model is known in it.
    """

    id: str
    images: tuple[Picture, ...]
    prompt: str
    choices: tuple[str, ...]
    answer: str
    caption: str = "{}"
    captions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Data:
    """The two halves of a task's samples: what clients train on, and what everyone is measured on."""

    train: tuple[Sample, ...]
    test: tuple[Sample, ...]


@dataclass(frozen=True)
class Task:
    """What is asked: loads samples, words them from whatever is present, and scores answers.

    ``load()`` reads or draws the data. ``word(sample)`` makes the example a backbone sees. ``score(sample, answer)``
    is 1.0 for a right answer and 0.0 for a wrong one (or between). ``metric`` names the mean of the scores.
    """

    name: str
    metric: str
    load: Callable[[], Data]
    word: Callable[[Sample], Example]
    score: Callable[[Sample, str], float]


# --- scenario -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scenario:
    """Who holds what. ``proportions(sizes, clients, rng)`` returns ``[groups, clients]``, each row summing to 1: the
    share of each group's examples that goes to each client. Groups are the values of the meta field ``by`` in sorted
    order (``None``: all examples are one group); ``sizes`` are their counts in the training half. The test half is
    dealt with the same shares, so a client is measured on what it is like. ``sites``: the places that hold data of
    their own, which nobody deals and no server sees; ``proportions`` is then never asked.
    """

    by: str | None
    proportions: Callable[[np.ndarray, int, np.random.Generator], np.ndarray]
    sites: tuple[str, ...] = ()


# --- model --------------------------------------------------------------------------------------------------------


@runtime_checkable
class Backbone(Protocol):
    """A frozen vision-language model with one trainable adapter. No ``nn.Module`` is reached through it."""

    name: str
    fingerprint: str
    """Hash of all of the base model that decides its outputs: an adapter belongs to one fingerprint."""
    total_parameters: int

    def collate(self, examples: Sequence[Example]) -> Any:
        """A batch as ``loss`` wants it, on the device; frozen features come from the cache."""

    def loss(self, batch: Any) -> Tensor:
        """Loss of each example, ``[B]``, as in training: with dropout where gradients are wanted. A backbone that draws
        anything here has a context ``steady()`` besides, in which it does not."""

    def answer(self, examples: Sequence[Example]) -> list[str]:
        """An answer an example: the likeliest choice, or generated text where there are no choices."""

    def leaves(self) -> Tree:
        """The live adapter tensors (``requires_grad``), by PEFT name; an optimiser may step on them."""

    def read(self) -> Tree:
        """A detached CPU copy of the adapter."""

    def write(self, adapter: Mapping[str, Tensor], base: Mapping[str, Tensor] | None = None) -> None:
        """Set the adapter (LoRA pairs may have another rank than now) and the change to the base.

        ``base`` holds LoRA pairs of any rank whose plain product B A (no further scale) is added to the original base
        weight: the weights become W0 + B A, whatever they were before. ``None`` or empty: W0.

        Raises:
            FedloomError: names or shapes are not this backbone's.
        """

    def save(self, folder: Path, adapter: Mapping[str, Tensor], base: Mapping[str, Tensor] | None, card: str) -> None:
        """Write a PEFT adapter folder that holds ``adapter`` and the change to the base, with ``card`` as README."""


@runtime_checkable
class Examiner(Protocol):
    """A backbone that can tell before the first round whether it can take all examples. Those of this package can."""

    def check(self, examples: Sequence[Example], trained: bool) -> None:
        """Look at the text of all examples; ``trained``: their answers are learned, else they are to be answered.

        Raises:
            FedloomError: naming an example that does not fit, and why.
        """


# --- method -------------------------------------------------------------------------------------------------------


@dataclass
class Parcel:
    """What travels between server and client: trees by slot (``adapter``, ``base``, ``control`` ...), plain facts.

    Slot ``adapter`` is what a client loads or returns; what the server leaves out of it is as everyone's start adapter.
    Facts of a reply always hold ``examples`` and ``steps``.
    """

    trees: dict[str, Tree] = field(default_factory=dict)
    facts: dict[str, float | int | str] = field(default_factory=dict)


State = dict[str, Tree]
"""The server's whole state, slot by slot; a checkpoint is exactly this. Slot ``adapter`` is the global adapter, slot
``base`` (optional) the change to the base so far. Counters are 0-d tensors in slot ``counters``."""


@dataclass(frozen=True)
class ClientInfo:
    """What the server knows of a client."""

    name: str
    examples: int
    rank: int


Sampler = Callable[[Sequence[ClientInfo], int, np.random.Generator], list[ClientInfo]]
"""Who takes part: ``(clients, round, rng) -> cohort``, in the clients' order; ``round`` counts from 1."""


@dataclass
class LocalRun:
    """One client's local training, as its method sees it.

    ``start``: the adapter it began from. ``theta``: the live leaves. ``received``: the server's parcel. ``kept``: the
    client's own state from earlier rounds, by slot. ``losses()``: the loss of each training example at ``theta`` as it
    is, ``[examples]``. ``gradients()``: the gradient of one training example's loss after the other. Both are without
    dropout, whose noise only the steps have. ``scratch``: free for hooks during this run. ``steps``, ``examples``:
    optimiser steps taken so far, training examples held.
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

    ``begin(run)``: called before the first step. ``term(run)``: added to the mean batch loss. ``gradient(run)``: called
    after backward and before the optimiser's step; may change ``.grad`` of ``run.theta`` in place: every leaf has one,
    zero where the batch does not depend on it. ``send(run)``: further slots for the reply (the shared part of the
    adapter is always sent). ``rank(run)``: how many components of every LoRA pair, from the first, the reply has, at
    most those the client began with. ``keep(run)``: slots that the client keeps until its next turn (the unshared part
    of the adapter is always kept). ``personal``: a second adapter. ``goes_on``: the optimiser of a turn begins with the
    state that it had at the end of the client's last one (its moments and step count), which the client keeps; without
    it, each turn has a new optimiser.
    """

    begin: Callable[[LocalRun], None] | None = None
    term: Callable[[LocalRun], Tensor] | None = None
    gradient: Callable[[LocalRun], None] | None = None
    send: Callable[[LocalRun], dict[str, Tree]] | None = None
    rank: Callable[[LocalRun], int] | None = None
    keep: Callable[[LocalRun], dict[str, Tree]] | None = None
    personal: Personal | None = None
    goes_on: bool = False


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


def everything(name: str) -> bool:
    """The predicate that takes every name."""
    return True


def nothing(name: str) -> bool:
    """The predicate that takes no name."""
    return False


@dataclass(frozen=True)
class Method:
    """How clients learn and how their replies are merged: both halves, in one file.

    ``trains`` and ``shares`` are predicates on adapter tensor names: what learns at the client, and what of it leaves
    the client. ``mixed_ranks``: whether clients may have adapters of different rank. ``pooled``: all data in one
    place: one client that holds everybody's data, which is no federation at all.
    """

    reduce: Reduce
    server: Server
    local: Local = Local()
    trains: Callable[[str], bool] = everything
    shares: Callable[[str], bool] = everything
    mixed_ranks: bool = False
    pooled: bool = False


# --- engine -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """One client's work in one round: ``parcel`` is the packed message. ``counted``: the last round before this one in
    which the client's reply counted (0: none); what it kept from a later turn is void. ``kind`` ``"update"``: what its
    first update to the weights would be, asked before round 1 where the adapter starts from it.
    """

    round: int
    client: str
    parcel: bytes
    kind: Literal["train", "evaluate", "update"] = "train"
    counted: int = 0


@dataclass(frozen=True)
class Reply:
    """What came back: packed bytes, or the reason why nothing did. ``late``: it answers an earlier round."""

    client: str
    parcel: bytes = b""
    error: str = ""
    seconds: float = 0.0
    late: bool = False


class Engine(Protocol):
    """Where clients run."""

    def gather(self) -> None:
        """Have everybody there before the first round; what sites hold is known from then on.

        Raises:
            FedloomError: not enough of them are there.
        """

    def exchange(self, jobs: Iterable[Job]) -> Iterator[Reply]:
        """Run the jobs; replies come as they arrive, in any order, one a job. Whoever has enough of them closes it."""

    def close(self) -> int:
        """End what the engine started; returns the peak memory of its largest process in bytes (0: it had none)."""
