"""One cell of ``overhead.py``: rounds of the real loop around a backbone that has nothing to learn.

The round loop, the wire, its checks, the method, the checkpoints and the local engine are fedloom's own; only the
model is not. Run as ``python idle.py '{"clients": 10, "megabytes": 0.1, "method": "fedavg", "rounds": 2}'`` in a
process of its own, it prints what it measured as one line of JSON.
"""

import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor

from fedloom.core import resolve
from fedloom.core import tree as trees
from fedloom.core.contracts import Backbone, Data, Example, Sample, Task, Tree
from fedloom.core.seeds import Seeds
from fedloom.core.tables import Experiment
from fedloom.federation.record import RunFolder
from fedloom.federation.round import Federation
from fedloom.federation.setup import Setup
from fedloom.federation.watch import Silent

MODULES, RANK = 64, 8
"""Layers that carry a LoRA pair, and its rank: the number of tensors stays, their width follows from the bytes."""


@dataclass
class Idle:
    """A backbone whose adapter has a given size, and whose loss is zero whatever the adapter holds."""

    megabytes: float
    name: str = "idle"
    fingerprint: str = "idle"
    total_parameters: int = 0
    live: Tree = field(default_factory=dict)

    def __post_init__(self) -> None:
        width = max(1, round(self.megabytes * 1e6 / (MODULES * 2 * RANK * 4)))
        stream = Seeds(0).torch("idle")
        for number in range(MODULES):
            shapes = {"lora_A": (RANK, width), "lora_B": (width, RANK)}
            for half, shape in shapes.items():
                name = f"base_model.model.layers.{number}.q_proj.{half}.weight"
                self.live[name] = torch.empty(shape).uniform_(-1, 1, generator=stream).requires_grad_()

    def collate(self, examples: Sequence[Example]) -> int:
        """Only how many they are."""
        return len(examples)

    def loss(self, batch: int) -> Tensor:
        """Zeros ``[batch]``, through one number of the adapter, so that there is a gradient to take."""
        return next(iter(self.live.values()))[0, 0].expand(batch) * 0

    def answer(self, examples: Sequence[Example]) -> list[str]:
        """The first choice of each."""
        return [example.choices[0] for example in examples]

    def leaves(self) -> Tree:
        """The live adapter tensors."""
        return dict(self.live)

    def read(self) -> Tree:
        """A detached copy of the adapter."""
        return {name: leaf.detach().clone() for name, leaf in self.live.items()}

    @torch.no_grad()
    def write(self, adapter: Mapping[str, Tensor], base: Mapping[str, Tensor] | None = None) -> None:
        """Set the adapter."""
        for name, leaf in self.live.items():
            leaf.copy_(adapter[name])

    def save(self, folder: Path, adapter: Mapping[str, Tensor], base: Mapping[str, Tensor] | None, card: str) -> None:
        """Nothing is kept."""


@dataclass(frozen=True)
class IdleSetup(Setup):
    """An experiment on an idle backbone: two training examples and one test example a client."""

    megabytes: float = 1.0

    @cached_property
    def task(self) -> Task:
        """A question with one answer."""
        choices, clients = ("yes", "no"), self.experiment.scenario.clients
        samples = tuple(Sample(str(n), None, None, "Well?", choices, "yes") for n in range(3 * clients))
        data = Data(samples[: 2 * clients], samples[2 * clients :])
        word = lambda sample: Example(sample.id, (), "Well?", choices, "yes")  # noqa: E731
        return Task("idle", "accuracy", lambda: data, word, lambda sample, answer: float(answer == sample.answer))

    @cached_property
    def backbone(self) -> Backbone:
        """The idle one."""
        return Idle(self.megabytes)


def measure(clients: int, megabytes: float, method: str, rounds: int) -> dict[str, Any]:
    """Run the rounds; returns the figures of one cell. ``peak_memory_bytes`` is the whole process's."""
    torch.set_num_threads(1)
    table = {
        "rounds": rounds,
        "model": {"name": "idle"},
        "adapter": {"rank": RANK},
        "task": {"name": "idle"},
        "scenario": {"name": "iid", "clients": clients},
        "method": {"name": method},
        "engine": {"threads": 1},
    }
    setup = IdleSetup(Experiment.model_validate(table), megabytes=megabytes)
    assert len(setup.clients) == clients
    torch.optim.AdamW([torch.zeros(1, requires_grad=True)])  # torch imports much for the first one: no round's cost
    start = psutil.Process().memory_info().rss
    with tempfile.TemporaryDirectory() as path:
        folder = RunFolder.create(Path(path) / "run", setup.experiment)
        engine = resolve.build("engines", "local", {}, setup=setup, kept=folder.kept)
        begun = time.perf_counter()
        last = Federation(setup, folder, engine, Silent()).run()
        seconds = time.perf_counter() - begun
        engine.close()
        turns = folder.rows("clients.jsonl")
    assert len(turns) == rounds * clients
    assert not any(turn["error"] for turn in turns)
    return {
        "method": method,
        "clients": clients,
        "megabytes": megabytes,
        "rounds": rounds,
        "adapter_bytes": trees.nbytes(setup.initial),
        "bytes_up_client_round": sum(turn["bytes_up"] for turn in turns) / len(turns),
        "seconds": seconds,
        "seconds_client_round": seconds / len(turns),
        "server_seconds": float(last.facts["seconds.server"]),
        "start_memory_bytes": start,
        "peak_memory_bytes": peak_memory(),
    }


def peak_memory() -> int:
    """Bytes of this process's largest resident set since it began.

    Linux hands the peak of the process that started this one down in ``ru_maxrss``; ``VmHWM`` is its own alone.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    print(json.dumps(measure(**json.loads(sys.argv[1]))))
