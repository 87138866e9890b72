"""The one local training loop: a client's turn in a round, whatever the method, model and engine."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from fedloom.core import limits, lora, wire
from fedloom.core import tree as trees
from fedloom.core.contracts import Backbone, Example, Job, LocalRun, Method, Parcel, Reply, Tree
from fedloom.core.errors import FedloomError
from fedloom.core.tables import ClientTable
from fedloom.federation import begin, gradients, optimisers, steps
from fedloom.federation.checkpoints import START
from fedloom.federation.evaluate import answered, keeps
from fedloom.federation.facts import PRIVATE, RANK, declared
from fedloom.federation.kept import Kept
from fedloom.federation.messages import check_ranks, coded_reply, cut
from fedloom.federation.setup import Setup
from fedloom.federation.start import begin_from, received, shared_start, take_start, whole_start

MAX_PARCEL = 8 * 2**30
"""Bytes of the largest parcel that is read."""

FEEDBACK = "feedback"
"""The slot of what a client keeps in which error feedback has its memory."""

Term = Callable[[LocalRun], Tensor]
Hook = Callable[[LocalRun], None]


@dataclass
class Trainer:
    """Runs clients' turns in this process: one backbone, one client after the other.

    ``metrics``: whether a client's loss and score leave it as its own, only to be a part of sums, or not at all.
    """

    setup: Setup
    kept: Kept
    metrics: Literal["own", "sums", "none"] = "own"
    _examples: dict[str, list[Example]] = field(default_factory=dict)

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

    def _turn(self, job: Job) -> Parcel:
        setup, where = self.setup, f"round/{job.round}/client/{job.client}"
        info = setup.clients[job.client]
        kept = self._kept(job)
        parcel = self._opened(job, kept)
        if job.client not in self._examples:
            self._examples[job.client] = setup.training_examples(job.client)
        torch.manual_seed(setup.seeds.number(f"{where}/dropout"))
        reply, keep = train(
            setup.backbone,
            self._examples[job.client],
            setup.method,
            setup.experiment.client,
            received=parcel,
            kept=kept,
            initial=setup.start(info),
            rng=setup.seeds.numpy(f"{where}/batches"),
            lr=steps.learning_rate(setup.experiment.client, job.round, setup.experiment.rounds),
            scale=setup.scale,
        )
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
) -> tuple[Parcel, dict[str, Tree]]:
    """Train the adapter on a client's examples; returns its reply and what it keeps for its next turn.

    The start is what the server sent, over what the client kept, over the initial adapter. ``scale``: the factor of
    every B A.

    Raises:
        FedloomError: a batch that cannot be trained on, or whose loss is not finite (that of the first of the
            examples after the last step, too); names the batch.
    """
    local = method.local
    before = kept if local.goes_on else {}
    whole = whole_start(initial, method, received, kept)
    start, base = whole.trees["adapter"], whole.trees.get("base")
    run = _begin(backbone, examples, method, start, base, received, kept, lr, table.batch_size)
    if local.begin:
        local.begin(run)
    optimiser = optimisers.make(run.theta, table, lr, before)
    losses = _learn(backbone, examples, run, table, optimiser, rng, local.term, local.gradient)
    final = backbone.read()
    reply = Parcel()
    reply.facts = {"examples": len(examples), "steps": run.steps, "loss": float(np.mean(losses)) if losses else 0.0}
    if local.rank:
        reply.facts[RANK] = rank = local.rank(run)
        final = lora.truncate(final, rank)
    reply.trees["adapter"] = trees.select(final, method.shares)
    keep = {"adapter": trees.select(final, lambda name: method.trains(name) and not method.shares(name))}
    reply.trees |= declared(local, local.send(run) if local.send else {})
    if local.keep:
        keep |= local.keep(run)
    if local.goes_on:
        keep |= optimisers.state(optimiser, run.theta)
    if local.personal:
        own, base = local.personal.begin(whole, kept.get("personal"), scale)
        run = _begin(backbone, examples, method, own, base, whole, kept, lr, table.batch_size)
        optimiser = optimisers.make(run.theta, table, lr)
        _learn(backbone, examples, run, table, optimiser, rng, local.personal.term, None)
        keep["personal"] = backbone.read()
    return reply, {slot: tree for slot, tree in keep.items() if tree}


def _begin(
    backbone: Backbone,
    examples: Sequence[Example],
    method: Method,
    start: Tree,
    base: Tree | None,
    received: Parcel,
    kept: dict[str, Tree],
    lr: float,
    size: int,
) -> LocalRun:
    """The backbone set to where a run begins, and the run; ``size``: examples a batch."""
    backbone.write(start, base)
    leaves = trees.select(backbone.leaves(), method.trains)
    for name, leaf in backbone.leaves().items():
        leaf.requires_grad_(name in leaves)

    @torch.no_grad()
    def losses() -> Tensor:
        batches = (examples[begin : begin + size] for begin in range(0, len(examples), size))
        with gradients.steady(backbone):
            return torch.cat([_loss(backbone, batch).cpu() for batch in batches])

    def of_examples() -> Iterator[Tree]:
        for example in examples:
            with gradients.steady(backbone):
                loss = _loss(backbone, [example]).sum()
            yield gradients.gradient(loss, [example], leaves)

    return LocalRun(start, leaves, received, kept, len(examples), lr, losses, of_examples)


def _learn(
    backbone: Backbone,
    examples: Sequence[Example],
    run: LocalRun,
    table: ClientTable,
    optimiser: torch.optim.Optimizer,
    rng: np.random.Generator,
    term: Term | None,
    gradient: Hook | None,
) -> list[float]:
    """All steps of a run; the losses of its batches, without the term.

    Raises:
        FedloomError: as ``train``.
    """
    losses = []
    for batch in steps.batches(len(examples), table, rng):
        limits.tick()
        chosen = [examples[index] for index in batch]
        where = f"batch {run.steps + 1} ({', '.join(example.id for example in chosen)})"
        try:
            loss = _step(backbone, chosen, run, optimiser, term, gradient)
        except Exception as error:
            reason = str(error) if isinstance(error, FedloomError) else f"{type(error).__name__}: {error}"
            raise FedloomError(f"{where}: {reason}") from error
        if not math.isfinite(loss):
            raise FedloomError(f"{where}: the loss is {loss}. Lower client.lr (now {run.lr:g}).")
        losses.append(loss)
    if losses:
        _check_end(backbone, examples, run)
    return losses


def _loss(backbone: Backbone, examples: Sequence[Example]) -> Tensor:
    """The loss of each example, of a pass over all that has no end but theirs."""
    limits.tick()
    return backbone.loss(backbone.collate(examples))


@torch.no_grad()
def _check_end(backbone: Backbone, examples: Sequence[Example], run: LocalRun) -> None:
    """Refuse a model that diverged in its last step, whose loss no further step sees: one example tells, with a picture
    if any has one.

    Raises:
        FedloomError: its loss is not finite.
    """
    one = next((example for example in examples if example.images), examples[0])
    with gradients.steady(backbone):
        loss = float(backbone.loss(backbone.collate([one])).sum())
    if not math.isfinite(loss):
        raise FedloomError(
            f"after the last batch, {run.steps}: the loss of {one.id} is {loss}. Lower client.lr (now {run.lr:g})."
        )


def _step(
    backbone: Backbone,
    examples: list[Example],
    run: LocalRun,
    optimiser: torch.optim.Optimizer,
    term: Term | None,
    gradient: Hook | None,
) -> float:
    """One optimiser step on one batch; returns the batch's mean loss, without the method's term.

    Raises:
        FedloomError: as ``gradients.depends``.
    """
    optimiser.zero_grad()
    loss: Tensor = backbone.loss(backbone.collate(examples)).mean()
    total = loss + term(run) if term else loss
    gradients.backward(loss, total, examples, run.theta)
    if gradient:
        gradient(run)
    optimiser.step()
    run.steps += 1
    return float(loss.detach())
