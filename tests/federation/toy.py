"""A federation small enough to run in milliseconds: a linear model with one LoRA pair, a task, an engine to bend."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from fedloom import models
from fedloom.core import config, lora
from fedloom.core.config import Experiment
from fedloom.core.contracts import Answered, Data, Engine, Example, Job, Reply, Sample, Task, Tree
from fedloom.core.seeds import Seeds
from fedloom.engines.local import Inline
from fedloom.federation.kept import Kept
from fedloom.federation.setup import Setup

MODULE = "base_model.model.head"
A, B = MODULE + lora.A, MODULE + lora.B
CHOICES = ("yes", "no")
HERE = "tests.federation.toy"

Bend = Callable[[Job, Reply], Iterable[Reply]]


def features(id: str) -> Tensor:
    """Four numbers that an example's id stands for."""
    return torch.from_numpy(Seeds(7).numpy(id).standard_normal(4)).float()


def task() -> Task:
    """Is the sum of the first two features positive?"""

    def sample(id: str, group: str) -> Sample:
        answer = CHOICES[0] if features(id)[:2].sum() > 0 else CHOICES[1]
        return Sample(id, None, None, "positive?", CHOICES, answer, meta={"group": group, "label": answer})

    def load() -> Data:
        halves = (("train", 18), ("test", 9))
        return Data(*(tuple(sample(f"{half}-{i}", f"g{i % 3}") for i in range(count)) for half, count in halves))

    def word(sample: Sample) -> Example:
        return Example(sample.id, (), "positive?", sample.choices, sample.answer)

    return Task("toy", "accuracy", load, word, lambda sample, answer: float(sample.answer == answer))


def auc(samples: Sequence[Sample], answered: Sequence[Answered]) -> float | None:
    """The share of pairs of a "yes" and a "no" in which the first has the higher probability of "yes"; ties half."""
    yes, no = ([a.weights[0] for s, a in zip(samples, answered, strict=True) if s.answer == c] for c in CHOICES)
    pairs = [(one > other) + (one == other) / 2 for one in yes for other in no]
    return sum(pairs) / len(pairs) if pairs else None


def macro_f1(samples: Sequence[Sample], answered: Sequence[Answered]) -> float | None:
    """The mean over the two answers of 2 TP / (2 TP + FP + FN), of what was read; one that never stands counts 0."""
    found = []
    for choice in CHOICES:
        both = sum(s.answer == choice == a.read for s, a in zip(samples, answered, strict=True))
        all_of = sum(s.answer == choice for s in samples) + sum(a.read == choice for a in answered)
        found.append(2 * both / all_of if all_of else 0.0)
    return sum(found) / 2


def figured(metric: str = "auc", mute: str = "") -> Task:
    """The same question with two figures beside the accuracy; the answer ``mute`` cannot be parsed."""

    def read(sample: Sample, answer: str) -> str | None:
        return None if answer == mute else answer

    return replace(task(), metric=metric, metrics={"auc": auc, "macro-F1": macro_f1}, read=read)


class Toy:
    """``scores = (base + scale B A) x``; the loss is the squared distance from the one-hot answer."""

    name, fingerprint, total_parameters = "toy", "toy", 8

    def __init__(self, rank: int, scale: float, seeds: Seeds) -> None:
        a = torch.randn(rank, 4, generator=seeds.torch("toy"))
        self.scale, self.base, self.factor = scale, torch.zeros(2, 4), 1.0
        self.tree: Tree = {A: a.requires_grad_(), B: torch.zeros(2, rank, requires_grad=True)}

    def collate(self, examples: Sequence[Example]) -> tuple[Tensor, Tensor]:
        wanted = [CHOICES.index(example.answer) for example in examples]
        return torch.stack([features(example.id) for example in examples]), torch.eye(2)[wanted]

    def _forward(self, x: Tensor) -> Tensor:
        return x @ (self.base + self.factor * self.scale * self.tree[B] @ self.tree[A]).T

    def rescale(self, factor: float) -> None:
        self.factor = factor

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        return (self._forward(batch[0]) - batch[1]).square().sum(dim=1)

    @torch.no_grad()
    def answer(self, examples: Sequence[Example]) -> list[str]:
        return [CHOICES[int(row.argmax())] for row in self._forward(self.collate(examples)[0])]

    @torch.no_grad()
    def weighed(self, examples: Sequence[Example]) -> list[tuple[str, tuple[float, ...]]]:
        shares = self._forward(self.collate(examples)[0]).double().softmax(dim=1).tolist()
        return list(zip(self.answer(examples), map(tuple, shares), strict=True))

    def leaves(self) -> Tree:
        return dict(self.tree)

    def read(self) -> Tree:
        return {name: value.detach().clone() for name, value in self.tree.items()}

    def write(self, adapter: Mapping[str, Tensor], base: Mapping[str, Tensor] | None = None) -> None:
        assert adapter.keys() == self.tree.keys()
        self.tree = {name: value.detach().clone().requires_grad_() for name, value in adapter.items()}
        self.base = sum((b @ a for a, b in lora.pairs(dict(base or {})).values()), torch.zeros_like(self.base))

    def save(self, folder: Path, adapter: Mapping[str, Tensor], base: Mapping[str, Tensor] | None, card: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        whole = dict(adapter) | {f"base.{name}": value for name, value in (base or {}).items()}
        save_file({name: value.contiguous().clone() for name, value in whole.items()}, folder / "adapter.safetensors")
        (folder / "README.md").write_text(card)


def load(name: str, *, adapter: Any, seeds: Seeds, **options: Any) -> Toy:
    """What stands in for ``fedloom.models.load``."""
    return Toy(adapter.rank, adapter.alpha / adapter.rank, seeds)


def own(*, adapter: Any, seeds: Seeds, dtype: str) -> Toy:
    """The same as a backbone of one's own, ``model.name = "tests.federation.toy:own"``: in any process."""
    return load("toy", adapter=adapter, seeds=seeds)


def use(patch: pytest.MonkeyPatch) -> None:
    """Let every experiment of this process have a ``Toy`` for its model."""
    patch.setattr(models, "load", load)
    patch.setattr(torch, "set_num_threads", lambda count: None)


def toml(**tables: str) -> str:
    """An experiment file: three clients, two rounds; ``tables``: further lines for a table."""
    given = {
        "model": 'name = "toy"',
        "adapter": "rank = 2\nalpha = 2.0",
        "task": f'name = "{HERE}:task"',
        "scenario": 'name = "iid"\nclients = 3',
        "client": 'lr = 0.1\nbatch_size = 2\noptimizer = "sgd"',
    }
    lines = {table: given.get(table, "") + "\n" + tables.get(table, "") for table in given | tables}
    return 'name = "toy"\nrounds = 2\n' + "".join(f"[{table}]\n{text}\n" for table, text in lines.items())


def experiment(*sets: str) -> Experiment:
    """The toy's experiment with overrides, as the command line spells them."""
    raw = config.tomllib.loads(toml())
    for text in sets:
        config._override(raw, text)
    return config._validate(raw, "toy")


BENT = f"engine.name={HERE}:bent"
BEND: list[Bend] = []
"""What the bent engine does with each reply; empty: nothing."""


def bent(setup: Setup, kept: Kept) -> Engine:
    """The inline engine whose replies ``BEND`` may change, double or swallow."""
    return Bent(setup, kept)


class Bent(Inline):
    """See ``bent``."""

    def exchange(self, jobs: Iterable[Job]) -> Iterator[Reply]:
        for job in jobs:
            reply = self.trainer.run(job)
            yield from BEND[0](job, reply) if BEND else [reply]
