"""One hostile client among five: every method, magnitudes from 1e3 to the largest float32, one tensor or all, channels.

    python -m benchmarks.hostile [--quick] [--methods fedavg scaffold]

The federation is the tests' toy (``tests/federation/toy.py``): five clients, three rounds, plain SGD. What one client
sends is finite and of the right names, shapes and types, but large: entries of its adapter, or of a further slot
(control variates, Fisher information, losses). A run *holds* where it ends, its last checkpoint can be read and is
finite, and nobody but the hostile client was left out. Beside that stands what the attack did to the model: the largest
entry of the last adapter, as a multiple of that of a run without the hostile client.
"""

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from fedloom import engines, models
from fedloom.core import lora, resolve
from fedloom.core import tree as trees
from fedloom.core.contracts import Engine, Job, Reply, Tree
from fedloom.core.errors import FedloomError
from fedloom.engines.local import Inline
from fedloom.federation import client
from fedloom.federation.kept import Kept
from fedloom.federation.record import RunFolder
from fedloom.federation.setup import Setup
from tests.federation import toy

MAGNITUDES = (1e3, 1e6, 1e10, 1e20, 1e30, 1e38, 3e38)
CHANNELS = ("", "fp16", "bf16", "int8", "topk:0.5", "sign")
METHODS = sorted(resolve.known("methods"))
CLIENTS, ROUNDS, HOSTILE = 5, 3, "0"
R = toy.MODULE + lora.R


@dataclass(frozen=True)
class Attack:
    """What the hostile client sends: ``magnitude`` in its adapter's first tensor, or in ``all`` tensors of ``slot``."""

    magnitude: float
    all: bool = True
    slot: str = "adapter"

    def on(self, slots: dict[str, Tree]) -> dict[str, Tree]:
        """The slots of a reply with those entries."""
        chosen = sorted(slots.get(self.slot, {}))
        chosen = chosen if self.all else chosen[:1]
        large = {name: torch.full_like(slots[self.slot][name], self.magnitude) for name in chosen}
        return slots | ({self.slot: slots[self.slot] | large} if large else {})


class Between(toy.Toy):
    """The toy with an R between its pair, for fed-sb."""

    def __init__(self, rank: int, scale: float, seeds: Any) -> None:
        super().__init__(rank, scale, seeds)
        self.tree = {toy.A: self.tree[toy.A], toy.B: torch.ones(2, rank), R: torch.zeros(rank, rank)}

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ (self.base + self.scale * self.tree[toy.B] @ self.tree[R] @ self.tree[toy.A]).T


class Signed(toy.Toy):
    """The toy whose B begins with signs, for those that keep them."""

    def __init__(self, rank: int, scale: float, seeds: Any) -> None:
        super().__init__(rank, scale, seeds)
        self.tree[toy.B] = torch.tensor([[0.1], [-0.1]]).repeat(1, rank).requires_grad_()


MODELS: dict[str, type[toy.Toy]] = {"fed-sb": Between, "yoco": Signed, "yoco-sign": Signed}
"""What methods train that cannot begin with the toy."""


class Attacked(Inline):
    """The local engine, some of whose clients are hostile."""

    attack: Attack | None = None
    hostile: frozenset[str] = frozenset({HOSTILE})

    def exchange(self, jobs: Iterable[Job]) -> Iterator[Reply]:
        """Replies in the order of the jobs."""
        honest = client.coded_reply
        for job in jobs:
            attack = self.attack if job.client in self.hostile else None

            def coded(slots: dict[str, Tree], *given: Any, attack: Attack | None = attack) -> Any:
                return honest(attack.on(slots) if attack else slots, *given)

            with patch.object(client, "coded_reply", coded):
                yield self.trainer.run(job)


def attacked(setup: Setup, kept: Kept) -> Engine:
    """Where these runs' clients are."""
    return Attacked(setup, kept)


@dataclass(frozen=True)
class Found:
    """How a run went: why it does not hold ("": it does), and the largest entry of its last state."""

    problem: str
    largest: float


def run(method: str, out: Path, attack: Attack | None, *sets: str) -> Found:
    """One run with a hostile client, or without."""
    kind = ("adapter.kind=lora-sb", "adapter.init=svd") if method == "fed-sb" else ()
    given = (f"scenario.clients={CLIENTS}", f"rounds={ROUNDS}", f"method={method}", f"engine.name={__name__}:attacked")
    experiment = toy.experiment(*given, *kind, *sets)

    def load(name: str, *, adapter: Any, seeds: Any, **options: Any) -> toy.Toy:
        return MODELS.get(method, toy.Toy)(adapter.rank, adapter.alpha / adapter.rank, seeds)

    with patch.object(models, "load", load), patch.object(Attacked, "attack", attack):
        try:
            result = engines.run(experiment, out)
        except FedloomError as error:
            return Found(f"ended: {error}", 0.0)
    last = RunFolder(out).last()
    if last is None or last.round != ROUNDS:
        return Found("no last checkpoint", 0.0)
    values = [value for tree in last.state.values() for value in tree.values() if value.is_floating_point()]
    if not all(map(trees.finite, values)):
        return Found("a state that is not finite", 0.0)
    others = {entry["client"] for entry in result["left_out"]} - {HOSTILE}
    largest = max((float(value.abs().max()) for value in values if value.numel()), default=0.0)
    return Found(f"left out: {sorted(others)}" if others else "", largest)


def attacks(quick: bool) -> Iterator[tuple[Attack, str]]:
    """Every attack and the channel that it goes through."""
    for magnitude in (MAGNITUDES[0], MAGNITUDES[3], MAGNITUDES[-1]) if quick else MAGNITUDES:
        for channel in ("", "bf16") if quick else CHANNELS:
            for all in (True, False):
                yield Attack(magnitude, all), channel
        for slot in ("control", "fisher", "loss"):
            yield Attack(magnitude, slot=slot), ""


def main() -> int:
    """Run what the command line asks for; 0 where every run holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three magnitudes, two channels")
    parser.add_argument("--methods", nargs="+", default=METHODS)
    given = parser.parse_args()
    print(f"{'method':14} {'runs':>5} {'hold':>5}   largest entry, x honest   what went wrong")
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        for method in given.methods:
            honest = run(method, Path(folder) / f"{method}-honest", None)
            problems, largest, count = Counter[str](), 0.0, 0
            for count, (attack, channel) in enumerate(attacks(given.quick), 1):
                sets = [f'channel.up=["{channel}"]'] if channel else []
                found = run(method, Path(folder) / f"{method}-{count}", attack, *sets)
                largest = max(largest, found.largest / honest.largest if honest.largest else 0.0)
                if found.problem:
                    problems[found.problem[:90]] += 1
            wrong += sum(problems.values()) + bool(honest.problem)
            told = "; ".join(f"{times} x {what}" for what, times in problems.most_common(2)) + honest.problem
            print(f"{method:14} {count:5} {count - sum(problems.values()):5}   {largest:22.3g}   {told}", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
