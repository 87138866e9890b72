"""A client's turn in a round, whatever the method, model and engine: what comes in, the training, what goes out."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal

import numpy as np

from fedloom.core import wire
from fedloom.core.contracts import Backbone, Example, Job, LocalRun, Method, Parcel, Reply, Tree
from fedloom.core.errors import FedloomError
from fedloom.core.seeds import Seeds
from fedloom.core.tables import ClientTable
from fedloom.federation import begin, steps
from fedloom.federation.checkpoints import START
from fedloom.federation.evaluate import answered, keeps
from fedloom.federation.facts import PRIVATE
from fedloom.federation.kept import Kept
from fedloom.federation.messages import check_ranks, coded_reply, cut
from fedloom.federation.scaled import parcel_times, scaled, times
from fedloom.federation.seen import mix
from fedloom.federation.setup import Setup
from fedloom.federation.start import begin_from, received, shared_start, take_start
from fedloom.federation.turn import Outcome, Pupil, turn

MAX_PARCEL = 8 * 2**30
"""Bytes of the largest parcel that is read."""

FEEDBACK = "feedback"
"""The slot of what a client keeps in which error feedback has its memory."""

ZERO = Seeds(0)
"""The streams of a turn that is part of no run."""


@dataclass
class Trainer:
    """Runs clients' turns in this process: one backbone, one client after the other.

    ``metrics``: whether a client's loss and score leave it as its own, only to be a part of sums, or not at all.
    ``fewest``: examples that a turn trains on, where its method chooses them.
    """

    setup: Setup
    kept: Kept
    metrics: Literal["own", "sums", "none"] = "own"
    fewest: int = 0
    _examples: dict[str, tuple[int, list[Example], dict[str, float]]] = field(default_factory=dict)
    """Of each client the form that its examples were last seen in, these, worded, and what they have."""

    def run(self, job: Job) -> Reply:
        """One turn; whatever goes wrong comes back as the reply's error, with client, round and batch."""
        begun, before = time.perf_counter(), self.setup.middle.traffic.copy()
        try:
            reply = self._told({"train": self._turn, "evaluate": self._evaluate, "update": self._update}[job.kind](job))
            reply.facts |= self.setup.middle.traffic.since(before)
            parcel = wire.pack(reply)
        except Exception as error:
            reason = str(error) if isinstance(error, FedloomError) else f"{type(error).__name__}: {error}"
            return Reply(
                job.client,
                error=f"client {job.client!r}, round {job.round}: {reason}",
                seconds=time.perf_counter() - begun,
            )
        return Reply(job.client, parcel, seconds=time.perf_counter() - begun)

    def _told(self, reply: Parcel) -> Parcel:
        """The reply with those of its figures that may leave."""
        if self.metrics == "none":
            reply.facts.pop("loss", None)
        elif self.metrics == "sums":
            reply.facts[PRIVATE] = 1
        return reply

    def _kept(self, job: Job) -> dict[str, Tree]:
        """What the client kept, where its turns keep something that of its last one that counted.

        Raises:
            FedloomError: it is gone, damaged, or cannot be read.
        """
        return self.kept.read(job.client, job.counted, must=keeps(self.setup))

    def _opened(self, job: Job, kept: dict[str, Tree]) -> Parcel:
        """What the server sent, out of the channel; the start adapter is what it was sent, or kept of that.

        Raises:
            FedloomError: the server means another start adapter than is here, or one of a larger rank.
        """
        parcel = wire.unpack(job.parcel, max_bytes=MAX_PARCEL)
        start = take_start(self.setup, parcel, kept)
        parcel.trees = received(self.setup, info := self.setup.clients[job.client], parcel.trees)
        check_ranks({START: start, **parcel.trees}, info.rank)
        return parcel

    def _evaluate(self, job: Job) -> Parcel:
        kept = self._kept(job)
        return answered(self.setup, job.client, self._opened(job, kept), kept, zero_shot=job.round == 0)

    def _update(self, job: Job) -> Parcel:
        begin_from(self.setup, {})
        return begin.signs(self.setup, job.client)

    @property
    def _method(self) -> Method:
        """The method, whose clients choose no fewer examples than a turn may train on."""
        method = self.setup.method
        choose, table = method.local.choose, self.setup.experiment.client
        if choose is None or not self.fewest:
            return method

        def enough(run: LocalRun) -> Sequence[int]:
            found = choose(run)
            if (seen := steps.seen(len(found), table)) < self.fewest:
                raise FedloomError(
                    f"the method chose {len(found)} examples, of which the steps see {seen}, expected at least "
                    f"{self.fewest}. Fix: have it choose more, or lower min_examples in site.toml."
                )
            return found

        return replace(method, local=replace(method.local, choose=enough))

    def _seen(self, job: Job) -> tuple[list[Example], dict[str, float]]:
        """What the client trains on, worded, and which share of it has which modalities; anew only where it is in
        another form than in its last turn here."""
        setup, form = self.setup, self.setup.form(job.round)
        if job.client not in self._examples or self._examples[job.client][0] != form:
            holders = setup.partition.names if setup.method.pooled else [job.client]
            held = mix(one for name in holders for one in setup.training_samples(name, job.round))
            self._examples[job.client] = form, setup.training_examples(job.client, job.round), held
        return self._examples[job.client][1:]

    def _turn(self, job: Job) -> Parcel:
        setup, where = self.setup, f"round/{job.round}/client/{job.client}"
        info = setup.clients[job.client]
        kept = self._kept(job)
        parcel = self._opened(job, kept)
        examples, held = self._seen(job)
        with scaled(setup.backbone, info.factor):
            reply, keep = train(
                setup.backbone,
                examples,
                self._method,
                setup.experiment.client,
                received=parcel_times(parcel, 1 / info.factor),
                kept=kept,
                initial=times(setup.start(info), 1 / info.factor),
                rng=setup.seeds.numpy(f"{where}/batches"),
                lr=steps.learning_rate(setup.experiment.client, job.round, setup.experiment.rounds),
                scale=setup.scale * info.factor,
                number=lambda name: setup.seeds.number(f"{where}/{name}"),
                modalities=held,
                done=(job.round - 1) / setup.experiment.rounds,
            )
        reply = parcel_times(reply, info.factor)
        for checked in (reply, Parcel(keep)):  # what has diverged is neither sent nor kept
            wire.check(checked, {})
        start = cut(shared_start(setup, info, parcel.trees), reply)
        seed = setup.seeds.number(f"{where}/channel")
        coded, lost = coded_reply(reply.trees, start, cut(kept.get(FEEDBACK, {}), reply), setup.up, seed)
        begun = {START: dict(setup.begun)} if setup.begun else {}
        self.kept.write(job.client, job.round, keep | begun | ({FEEDBACK: lost} if lost else {}), job.counted)
        return Parcel(coded.trees, reply.facts)


def train(
    backbone: Backbone,
    examples: Sequence[Example],
    method: Method,
    table: ClientTable,
    *,
    received: Parcel,
    kept: dict[str, Tree],
    initial: Tree,
    rng: np.random.Generator,
    lr: float,
    scale: float,
    number: Callable[[str], int] = ZERO.number,
    modalities: Mapping[str, float] = MappingProxyType({}),
    done: float = 0.0,
) -> Outcome:
    """One turn alone, from its first step to its last; see ``turn`` and ``Pupil``.

    Raises:
        FedloomError: as ``turn``.
    """
    pupil = Pupil(backbone, examples, method.trains, table, rng, lr, number, modalities, done)
    going = turn(pupil, method, received=received, kept=kept, initial=initial, scale=scale)
    with closing(going):
        try:
            step = next(going)
            while True:
                try:
                    losses = step.losses(backbone)
                except Exception as error:
                    step = going.throw(error)  # which says of what batch it is
                else:
                    step = going.send(losses)
        except StopIteration as end:
            outcome: Outcome = end.value
            return outcome
