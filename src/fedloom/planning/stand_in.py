"""An experiment without data and weights: loop, method, channel and wire are real, the model and its clients are not.

loss of example n  =  drawn number + <noise of n, adapter> - its own value      so every entry has a gradient
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fedloom.core import config, lora
from fedloom.core.config import Experiment
from fedloom.core.contracts import (
    Backbone,
    ClientInfo,
    Data,
    Example,
    Job,
    LocalRun,
    Method,
    Parcel,
    Reply,
    Sample,
    Sampler,
    Task,
    Tree,
)
from fedloom.core.partition import Partition
from fedloom.core.seeds import Seeds
from fedloom.core.tables import ModalityTable
from fedloom.federation.client import Trainer
from fedloom.federation.setup import Setup
from fedloom.planning.apart import Apart

EXAMPLES, BATCH, STEPS = 3, 2, 2
"""Blank examples of each client, the size of a batch, and the steps of a turn."""


@dataclass(frozen=True)
class Sizes:
    """What is known of a model without its weights: ``adapter`` has shapes and types, and need not have memory.

    ``weights``, ``adapted`` (the weights of the adapted layers alone), ``activations``: bytes, ``None`` where they are
    not known. ``apart``: the same of a client without the language model. ``notes``: what was assumed.
    """

    adapter: Tree
    total_parameters: int
    weights: int | None = None
    adapted: int | None = None
    activations: int | None = None
    notes: tuple[str, ...] = ()
    apart: Apart | None = None


def quick(experiment: Experiment) -> Experiment:
    """The experiment with short turns and without evaluations on the way; neither changes what travels. Ranks that come
    from the data are taken to be the largest."""
    client = experiment.client.model_copy(update={"epochs": 1, "batch_size": BATCH, "max_steps": STEPS})
    evaluation = experiment.evaluation.model_copy(update={"every": 0, "limit": 0})
    adapter = experiment.adapter
    if adapter.rank_from == "data":
        adapter = adapter.model_copy(update={"rank_from": "list"})
    changed = {"client": client, "evaluation": evaluation, "adapter": adapter, "modality": ModalityTable()}
    return experiment.model_copy(update=changed)


class Noise:
    """A backbone of the right names and shapes whose loss has noise for a gradient, another for each example."""

    name = fingerprint = "stand-in"

    def __init__(self, shapes: Tree, total_parameters: int) -> None:
        self.total_parameters = total_parameters
        stream = Seeds(0).torch("stand-in")
        self.live: Tree = {}
        for name, like in sorted(shapes.items()):
            value = torch.zeros(like.shape, dtype=like.dtype)
            if not name.endswith(lora.B):
                value.uniform_(-0.1, 0.1, generator=stream)
            self.live[name] = value.requires_grad_()

    def collate(self, examples: Sequence[Example]) -> list[str]:
        """Their names."""
        return [example.id for example in examples]

    def loss(self, batch: list[str]) -> Tensor:
        """A number for each example, whatever the adapter holds, with a gradient of the size 1 in every entry."""
        losses = []
        for id in batch:
            stream = Seeds(0).torch(f"noise/{id}")
            drawn = 1 + torch.rand((), generator=stream)
            slopes = [(v * torch.randn(v.shape, dtype=v.dtype, generator=stream)).sum() for v in self.live.values()]
            slope = torch.stack([value.float() for value in slopes]).sum()
            losses.append(drawn + slope - slope.detach())
        return torch.stack(losses)

    def slopes(self, examples: Sequence[Example]) -> Tree:
        """Gradients by the weights: zeros of their shapes, which take as many bytes as others."""
        shapes = {name: (b.shape[0], a.shape[1]) for name, (a, b) in lora.pairs(self.live).items()}
        return {name: torch.zeros(shape) for name, shape in shapes.items()}

    def answer(self, examples: Sequence[Example]) -> list[str]:
        """The one choice."""
        return [example.answer for example in examples]

    def leaves(self) -> Tree:
        """The live adapter tensors."""
        return dict(self.live)

    def read(self) -> Tree:
        """A detached copy of the adapter."""
        return {name: leaf.detach().clone() for name, leaf in self.live.items()}

    def write(self, adapter: Mapping[str, Tensor], base: Mapping[str, Tensor] | None = None) -> None:
        """Set the adapter; a base there is none."""
        self.live = {name: adapter[name].detach().clone().requires_grad_() for name in self.live}

    def save(self, folder: Path, adapter: Mapping[str, Tensor], base: Mapping[str, Tensor] | None, card: str) -> None:
        """Nothing is kept."""


@dataclass(frozen=True)
class StandIn(Setup):
    """An experiment on ``Noise``. ``chosen``: the clients that are gone through (empty: each round's cohort).
    ``seen``: the most bytes that were in use, by what used them."""

    sizes: Sizes = field(default_factory=lambda: Sizes({}, 0))
    chosen: list[ClientInfo] = field(default_factory=list)
    seen: dict[str, int] = field(default_factory=dict)

    @cached_property
    def task(self) -> Task:
        """A question with one answer: a few training examples a client, and one test example."""
        clients = self.experiment.scenario.clients
        samples = [Sample(f"{n:06d}", None, None, None, ("yes",), "yes") for n in range((EXAMPLES + 1) * clients)]
        data = Data(tuple(samples[clients:]), tuple(samples[:clients]))
        return Task("stand-in", "none", lambda: data, word, lambda sample, answer: 0.0)

    @cached_property
    def data(self) -> Data:
        """Its blank examples, of which no modality can take anything away."""
        return self.loaded

    @cached_property
    def partition(self) -> Partition:
        """The same for every client."""
        clients = self.experiment.scenario.clients
        train = [list(range(client, clients * EXAMPLES, clients)) for client in range(clients)]
        return Partition(train, [[client] for client in range(clients)], [str(client) for client in range(clients)])

    def cohort(self, number: int) -> list[ClientInfo]:
        """Who takes part in a round of the experiment itself."""
        sample: Sampler = config.build(self.experiment, "sampling")
        return sample(list(self.clients.values()), number, self.seeds.numpy(f"round/{number}/cohort"))

    @cached_property
    def sampler(self) -> Sampler:
        """The experiment's, or those that are gone through."""
        return lambda clients, round, rng: list(self.chosen) or self.cohort(round)

    @cached_property
    def backbone(self) -> Backbone:
        """The stand-in."""
        return Noise(self.sizes.adapter, self.sizes.total_parameters)

    def start_of(self, update: Tree) -> Tree:
        """An adapter other than that drawn, in every entry: without its directions, which are work and no bytes."""
        return {name: value + 1 for name, value in self.drawn.items()}

    @cached_property
    def method(self) -> Method:
        """The experiment's, watched: how much a client's hooks hold, and how much the server's fold."""
        method: Method = super().method
        reduce, local = method.reduce, method.local

        def lift(reply: Parcel, client: ClientInfo, start: Tree) -> Any:
            return self._note("lifted", reduce.lift(reply, client, start))

        def merge(left: Any, right: Any) -> Any:
            return self._note("folded", reduce.merge(left, right))

        def last(run: LocalRun) -> dict[str, Tree]:
            self._note("hooks", run.scratch)
            hook = local.keep or local.send
            return hook(run) if hook else {}

        # Only a method whose clients keep something may have that hook: what they kept must be there in the next turn.
        seen = dataclasses.replace(local, keep=last) if local.keep else dataclasses.replace(local, send=last)
        return dataclasses.replace(method, reduce=dataclasses.replace(reduce, lift=lift, merge=merge), local=seen)

    def _note(self, kind: str, value: Any) -> Any:
        self.seen[kind] = max(self.seen.get(kind, 0), in_tensors(value))
        return value


@dataclass(frozen=True)
class Here:
    """An engine that runs one client after the other in this process."""

    trainer: Trainer

    def gather(self) -> None:
        """Everybody is here."""

    def exchange(self, jobs: Iterable[Job]) -> Iterator[Reply]:
        """Replies in the order of the jobs."""
        return map(self.trainer.run, jobs)

    def close(self) -> int:
        """Nothing was started."""
        return 0


def word(sample: Sample) -> Example:
    """An example that says nothing."""
    return Example(sample.id, (), "", sample.choices, sample.answer)


def in_tensors(value: Any) -> int:
    """Bytes of the tensors that a record, list or dict of whatever depth holds; those on ``meta`` have none."""
    if isinstance(value, Tensor):
        return 0 if value.is_meta else value.nbytes
    if dataclasses.is_dataclass(value):
        return sum(in_tensors(getattr(value, each.name)) for each in dataclasses.fields(value))
    if isinstance(value, Mapping):
        return sum(map(in_tensors, value.values()))
    return sum(map(in_tensors, value)) if isinstance(value, list | tuple) else 0
