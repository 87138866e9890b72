"""The one local training loop: a client's turn in a round, whatever the method, model and engine."""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from fedloom.core import tree as trees
from fedloom.core import wire
from fedloom.core.contracts import Backbone, Example, Job, LocalRun, Method, Parcel, Reply, Tree
from fedloom.core.errors import FedloomError
from fedloom.core.tables import ClientTable
from fedloom.federation.kept import Kept
from fedloom.federation.setup import Setup

MAX_PARCEL = 8 * 2**30
"""Bytes of the largest parcel that is read."""


@dataclass
class Trainer:
    """Runs clients' turns in this process: one backbone, one client after the other."""

    setup: Setup
    kept: Kept
    _examples: dict[str, list[Example]] = field(default_factory=dict)

    def run(self, job: Job) -> Reply:
        """One turn; whatever goes wrong comes back as the reply's error, with client, round and batch."""
        begun = time.perf_counter()
        try:
            parcel = wire.pack(self._turn(job))
        except Exception as error:
            reason = str(error) if isinstance(error, FedloomError) else f"{type(error).__name__}: {error}"
            return Reply(job.client, error=f"client {job.client!r}, round {job.round}: {reason}", seconds=_since(begun))
        return Reply(job.client, parcel, seconds=_since(begun))

    def _turn(self, job: Job) -> Parcel:
        setup, where = self.setup, f"round/{job.round}/client/{job.client}"
        received = wire.unpack(job.parcel, max_bytes=MAX_PARCEL)
        received.trees = {slot: setup.down.decode(tree) for slot, tree in received.trees.items()}
        if job.client not in self._examples:
            self._examples[job.client] = setup.training_examples(job.client)
        kept = self.kept.read(job.client, before=job.round)
        torch.manual_seed(setup.seeds.number(f"{where}/dropout"))
        reply, keep = train(
            setup.backbone,
            self._examples[job.client],
            setup.method,
            setup.experiment.client,
            received=received,
            kept=kept,
            initial=setup.initial,
            rng=setup.seeds.numpy(f"{where}/batches"),
            lr=learning_rate(setup.experiment.client, job.round, setup.experiment.rounds),
        )
        for parcel in (reply, Parcel(keep)):  # what has diverged is neither sent nor kept
            wire.check(parcel, {})
        reply.trees = {slot: setup.up.encode(tree) for slot, tree in reply.trees.items()}
        self.kept.write(job.client, job.round, keep)
        return reply


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
) -> tuple[Parcel, dict[str, Tree]]:
    """Train the adapter on a client's examples; returns its reply and what it keeps for its next turn.

    The start is what the server sent, over what the client kept, over the initial adapter.

    Raises:
        FedloomError: a batch that cannot be trained on, or whose loss is not finite; names the batch.
    """
    start = initial | kept.get("adapter", {}) | received.trees.get("adapter", {})
    backbone.write(start, received.trees.get("base"))
    leaves = trees.select(backbone.leaves(), method.trains)
    for name, leaf in backbone.leaves().items():
        leaf.requires_grad_(name in leaves)
    run = LocalRun(start, leaves, received, kept, len(examples), lr)
    optimiser = _optimiser(list(leaves.values()), table, lr)
    losses = []
    for batch in _batches(len(examples), table, rng):
        chosen = [examples[index] for index in batch]
        where = f"batch {run.steps + 1} ({', '.join(example.id for example in chosen)})"
        try:
            loss = _step(backbone, chosen, method, run, optimiser)
        except Exception as error:
            reason = str(error) if isinstance(error, FedloomError) else f"{type(error).__name__}: {error}"
            raise FedloomError(f"{where}: {reason}") from error
        if not math.isfinite(loss):
            raise FedloomError(f"{where}: the loss is {loss}. Lower client.lr (now {lr:g}).")
        losses.append(loss)
    final = backbone.read()
    reply = Parcel({"adapter": trees.select(final, method.shares)})
    reply.facts = {"examples": len(examples), "steps": run.steps, "loss": float(np.mean(losses)) if losses else 0.0}
    keep = {"adapter": trees.select(final, lambda name: method.trains(name) and not method.shares(name))}
    if method.local.send:
        reply.trees |= method.local.send(run)
    if method.local.keep:
        keep |= method.local.keep(run)
    return reply, {slot: tree for slot, tree in keep.items() if tree}


def _step(
    backbone: Backbone, examples: list[Example], method: Method, run: LocalRun, optimiser: torch.optim.Optimizer
) -> float:
    """One optimiser step on one batch; returns the batch's mean loss, without the method's term."""
    optimiser.zero_grad()
    loss: Tensor = backbone.loss(backbone.collate(examples)).mean()
    total = loss + method.local.term(run) if method.local.term else loss
    total.backward()  # type: ignore[no-untyped-call]
    if method.local.gradient:
        method.local.gradient(run)
    optimiser.step()
    run.steps += 1
    return float(loss.detach())


def _batches(count: int, table: ClientTable, rng: np.random.Generator) -> Iterator[list[int]]:
    """Shuffled batches of every epoch, at most ``max_steps`` in all; a last smaller batch is kept."""
    steps = 0
    for _ in range(table.epochs):
        order = rng.permutation(count).tolist()
        for begin in range(0, count, table.batch_size):
            if table.max_steps and steps == table.max_steps:
                return
            yield order[begin : begin + table.batch_size]
            steps += 1


def _optimiser(leaves: list[Tensor], table: ClientTable, lr: float) -> torch.optim.Optimizer:
    if table.optimizer == "sgd":
        return torch.optim.SGD(leaves, lr=lr, weight_decay=table.weight_decay)
    return torch.optim.AdamW(leaves, lr=lr, weight_decay=table.weight_decay)


def learning_rate(table: ClientTable, round: int, rounds: int) -> float:
    """The rate of a round (from 1): constant, or a cosine over the rounds from ``lr`` down to a tenth of it."""
    if table.schedule == "constant" or rounds == 1:
        return table.lr
    fall = 0.5 * (1 + math.cos(math.pi * (round - 1) / (rounds - 1)))
    return table.lr * (0.1 + 0.9 * fall)


def _since(begun: float) -> float:
    return time.perf_counter() - begun
