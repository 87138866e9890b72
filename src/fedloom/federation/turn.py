"""The one local training loop, as a generator: it says which examples a step sees, and is sent their losses.

    turn   --Step-->   driver: losses = backbone.loss(backbone.collate(step.examples))
           <-losses--
    turn   backward, terms, hooks, the optimiser's step ... and at the end what is sent and what is kept

So one driver may have several turns under way, each on a backbone of its own, and see their batches together.
"""

import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from fedloom.core import limits, lora
from fedloom.core import tree as trees
from fedloom.core.contracts import Backbone, Example, Learner, Local, LocalRun, Method, Parcel, Preparer, Tree
from fedloom.core.errors import FedloomError
from fedloom.core.tables import ClientTable
from fedloom.federation import gradients, optimisers, steps
from fedloom.federation.facts import RANK, declared
from fedloom.federation.start import whole_start


@dataclass(frozen=True)
class Step:
    """What a turn asks for: the losses of ``examples``. ``seed``: of what the pass draws at random (dropout)."""

    examples: list[Example]
    seed: int

    def losses(self, backbone: Backbone) -> Tensor:
        """The losses ``[B]`` of the examples, with their graph; torch's global generator is seeded before."""
        torch.manual_seed(self.seed)
        return backbone.loss(backbone.collate(self.examples))


Outcome = tuple[Parcel, dict[str, Tree]]
"""A client's reply, and what it keeps for its next turn, by slot."""

Turn = Generator[Step, Tensor, Outcome]


@dataclass(frozen=True)
class Pupil:
    """Whose turn it is. ``lr``: the rate of this round. ``rng``: draws the batches. ``number(name)``: the seed of the
    stream ``name`` of this turn: ``dropout/3`` is that of the third step, ``personal/dropout/3`` of the third of the
    personal adapter, ``hooks`` what hooks draw from. ``modalities``: the shares of the examples that have which.
    ``done``: the share of the rounds that are done, 0 in the first."""

    backbone: Backbone
    examples: Sequence[Example]
    trains: Callable[[str], bool]
    table: ClientTable
    rng: np.random.Generator
    lr: float
    number: Callable[[str], int]
    modalities: Mapping[str, float] = field(default_factory=dict)
    done: float = 0.0


def turn(pupil: Pupil, method: Method, *, received: Parcel, kept: dict[str, Tree], initial: Tree, scale: float) -> Turn:
    """Train the adapter on a client's examples, and then its personal one if there is one.

    Yields each step and is sent its losses ``[B]``; returns the reply and what is kept. The start is what the server
    sent, over what the client kept, over the initial adapter. ``scale``: the factor of every B A. The backbone is this
    turn's until it ends. An error of the driver's belongs into ``throw``, since the turn knows the batch. One that is
    closed before its end has sent and kept nothing.

    Raises:
        FedloomError: a batch that cannot be trained on, or whose loss is not finite (that of the first of the
            examples after the last step, too), naming the batch; indices that cannot be chosen.
    """
    local, table = method.local, pupil.table
    whole = whole_start(initial, method, received, kept)
    try:
        if isinstance(pupil.backbone, Learner):
            pupil.backbone.begin_turn(pupil.examples, pupil.done)
        run = _begin(pupil, whole.trees["adapter"], whole.trees.get("base"), received, kept)
        if local.begin:
            local.begin(run)
        chosen = _chosen(local, run)
        if local.choose and isinstance(pupil.backbone, Learner):
            pupil.backbone.begin_turn([pupil.examples[place] for place in chosen], pupil.done)
        if isinstance(pupil.backbone, Preparer) and steps.seen(len(chosen), table) == len(chosen):
            pupil.backbone.prepare([pupil.examples[place] for place in chosen])
        optimiser = optimisers.make(run.theta, table, pupil.lr, kept if local.goes_on else {})
        losses = yield from _learn(pupil, chosen, run, optimiser, local)
        if local.end:
            with torch.no_grad():
                local.end(run)
        reply, keep = _ended(pupil, method, run, losses)
        if local.goes_on:
            keep |= optimisers.state(optimiser, run.theta)
        if local.personal:
            own, base = local.personal.begin(whole, kept.get("personal"), scale)
            run = _begin(pupil, own, base, whole, kept, "personal/")
            optimiser = optimisers.make(run.theta, table, pupil.lr)
            yield from _learn(pupil, chosen, run, optimiser, Local(term=local.personal.term), "personal/")
            keep["personal"] = pupil.backbone.read()
        return reply, {slot: tree for slot, tree in keep.items() if tree}
    finally:
        for leaf in pupil.backbone.leaves().values():
            leaf.grad = None


def _begin(
    pupil: Pupil, start: Tree, base: Tree | None, received: Parcel, kept: dict[str, Tree], stream: str = ""
) -> LocalRun:
    """The backbone set to where a run begins, and the run."""
    backbone, examples, size = pupil.backbone, pupil.examples, pupil.table.batch_size
    backbone.write(start, base)
    leaves = trees.select(backbone.leaves(), pupil.trains)
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

    run = LocalRun(start, leaves, received, kept, len(examples), pupil.lr, losses, of_examples)
    run.modalities = pupil.modalities
    run.random.manual_seed(pupil.number(f"{stream}hooks"))
    return run


def _chosen(local: Local, run: LocalRun) -> list[int]:
    """Which of the client's examples the turn trains on, by index.

    Raises:
        FedloomError: indices that are not there, twice the same, or none.
    """
    if local.choose is None:
        return list(range(run.examples))
    found = [int(index) for index in local.choose(run)]
    if not found or len(set(found)) != len(found) or not 0 <= min(found) <= max(found) < run.examples:
        told = f"{found[:8]}{' ...' if len(found) > 8 else ''}"
        raise FedloomError(
            f"method: its Local.choose gave {told}, expected different indices from 0 to {run.examples - 1}, at least "
            "one of them. Fix: give each example once, or leave choose out to train on all."
        )
    return found


def _learn(
    pupil: Pupil,
    chosen: Sequence[int],
    run: LocalRun,
    optimiser: torch.optim.Optimizer,
    local: Local,
    stream: str = "",
) -> Generator[Step, Tensor, list[float]]:
    """All steps of a run; the losses of its batches, without the term. ``stream``: what its streams' names begin with.

    Raises:
        FedloomError: as ``turn``.
    """
    losses = []
    examples = [pupil.examples[index] for index in chosen]
    run.total = pupil.table.steps(len(examples))
    for batch in steps.batches(len(examples), pupil.table, pupil.rng):
        limits.tick()
        step = Step([examples[index] for index in batch], pupil.number(f"{stream}dropout/{run.steps + 1}"))
        where = f"batch {run.steps + 1} ({', '.join(example.id for example in step.examples)})"
        optimiser.zero_grad()
        try:
            mean = gradients.backward((yield step), step.examples, run, local)
            if local.gradient:
                local.gradient(run)
            if pupil.table.clip:
                torch.nn.utils.clip_grad_norm_(run.theta.values(), pupil.table.clip)
            optimisers.set_rate(optimiser, steps.step_rate(pupil.table, run.lr, run.steps, run.total))
            optimiser.step()
            if local.after:
                with torch.no_grad():
                    local.after(run)
        except Exception as error:
            reason = str(error) if isinstance(error, FedloomError) else f"{type(error).__name__}: {error}"
            raise FedloomError(f"{where}: {reason}") from error
        run.steps += 1
        if not math.isfinite(loss := float(mean)):
            raise FedloomError(f"{where}: the loss is {loss}. Lower client.lr (now {run.lr:g}).")
        losses.append(loss)
    if losses:
        _check_end(pupil.backbone, examples, run)
    return losses


def _ended(pupil: Pupil, method: Method, run: LocalRun, losses: Sequence[float]) -> Outcome:
    """What is sent and kept of a run that has ended.

    Raises:
        FedloomError: as ``declared``.
    """
    local, final = method.local, pupil.backbone.read()
    reply = Parcel()
    reply.facts = {"examples": run.examples, "steps": run.steps, "loss": float(np.mean(losses)) if losses else 0.0}
    if local.rank:
        reply.facts[RANK] = rank = local.rank(run)
        final = lora.truncate(final, rank)
    reply.trees["adapter"] = trees.select(final, method.shares)
    keep = {"adapter": trees.select(final, lambda name: method.trains(name) and not method.shares(name))}
    reply.trees |= declared(local, local.send(run) if local.send else {})
    if local.keep:
        keep |= local.keep(run)
    return reply, keep


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
