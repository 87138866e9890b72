"""How far each rule's answer is from the mean of the clients' products, on clients that have really trained.

    python benchmarks/gap.py [--rounds 2] [--methods fedavg flexlora ...] [--json FILE]

Federated LoRA wants ``sum_k p_k s B_k A_k``; most rules answer with something else. After the last round, with D_k the
whole change of client k to the weights (adapter and base) and D what the server makes of them::

    gap = || D - sum_k p_k D_k || / || sum_k p_k D_k - D_start ||          Frobenius, over all layers

0 is exact; 1 is as far off as not having trained in that round at all. The experiment is the preset
``lora-aggregation`` with its data dealt by pack.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from fedloom.core import config, lora, wire
from fedloom.core import tree as trees
from fedloom.core.contracts import Tree
from fedloom.federation.client import Trainer
from fedloom.federation.kept import Kept
from fedloom.federation.messages import Outbox, cut, open_reply
from fedloom.federation.setup import Setup

METHODS = (
    "fedavg",
    "hetlora",
    "hetlora method.gamma=1",
    "lora-fair",
    "lora-fair method.similarity=columns method.norm=squared",
    "flexlora",
    "stacking",
    "fedex-lora",
    "frlora adapter.init=svd",
    "frlora adapter.init=svd method.average=products",
    "ffa-lora",
    "fed-sb adapter.kind=lora-sb adapter.init=svd",
    "fednano",
    "median",
    "trimmed-mean",
)


def dense(adapter: Mapping[str, Tensor], base: Mapping[str, Tensor], scale: float) -> Tree:
    """The change to each layer's weight: ``s B A`` (or ``s B R A``) and the base's own."""
    total: Tree = {}
    for part, factor in ((adapter, scale), (base, 1.0)):
        for module, (a, b) in lora.pairs(dict(part)).items():
            core = part.get(f"{module}.lora_R.weight")
            change = factor * (b.double() if core is None else b.double() @ core.double()) @ a.double()
            total[module] = total[module] + change if module in total else change
    return total


def gap(method: str, rounds: int) -> float:
    """The gap of one method after that many rounds; its own clients, trained by its own rules."""
    name, *sets = method.split()
    alone = [f"method={name}", "scenario=natural", "scenario.by=pack", "channel.up=[]", "channel.down=[]", *sets]
    setup = Setup(config.load("lora-aggregation", alone))
    setup.use_threads()
    cohort = list(setup.clients.values())
    weight = sum(info.examples for info in cohort)
    state = setup.method.server.init(setup.initial, setup.scale, len(cohort))
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(setup, Kept(Path(folder)))
        for number in range(1, rounds + 1):
            outbox = Outbox(setup, number, state, cohort, dict.fromkeys(setup.clients, number - 1))
            total: Any = None
            mean: Tree = {}
            for info, job in zip(cohort, outbox.jobs(), strict=True):
                start = outbox.start(info)
                cuts = setup.method.local.rank is not None
                reply = open_reply(
                    trainer.run(job),
                    start,
                    info.examples,
                    setup.experiment.client.steps(info.examples),
                    setup.up,
                    cuts=cuts,
                )
                base = wire.unpack(job.parcel, max_bytes=len(job.parcel)).trees.get("base", {})
                mine = dense(setup.start(info) | start | reply.trees["adapter"], base, setup.scale)
                share = info.examples / weight
                mean = trees.add(mean, mine, share) if mean else {module: share * d for module, d in mine.items()}
                lifted = setup.method.reduce.lift(reply, info, cut(start, reply))
                total = lifted if total is None else setup.method.reduce.merge(total, lifted)
            before = whole(setup, state)
            state = setup.method.server.step(state, setup.method.reduce.lower(total))
    after = whole(setup, state)
    return float(trees.squared_norm(trees.sub(after, mean)) / trees.squared_norm(trees.sub(mean, before))) ** 0.5


def whole(setup: Setup, state: Any) -> Tree:
    """What the global model adds to each layer's weight."""
    sent = setup.method.server.send(state, None).trees
    return dense(setup.initial | sent.get("adapter", {}), sent.get("base", {}), setup.scale)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), help="each may carry overrides, in quotes")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    shown = Table(title=f"gap to the mean of the products, round {arguments.rounds}", header_style="bold")
    shown.add_column("rule")
    shown.add_column("gap", justify="right")
    found = {}
    for method in arguments.methods:
        found[method] = gap(method, arguments.rounds)
        shown.add_row(method, f"{found[method]:.2g}")
    Console().print(shown)
    if arguments.json:
        figures = {
            "command": " ".join(["python benchmarks/gap.py", *sys.argv[1:]]),
            "machine": {"cores": os.cpu_count()},
            "versions": {"python": platform.python_version(), **{n: version(n) for n in ("fedloom", "torch")}},
            "gaps": found,
        }
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
