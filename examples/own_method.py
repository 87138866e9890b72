"""A federated method of one's own, in this one file: the server goes only a part of the way to the clients' mean.

    python examples/own_method.py

A method is data: predicates on names, and a client half and a server half that are plain functions. This one is FedAvg
with another step: w <- w + rate (mean of the clients' adapters - w). Its parameter `rate` is a key of table [method].
"""

import tempfile
from dataclasses import replace
from pathlib import Path

from fedloom.core import config, tree
from fedloom.core.contracts import Method, Parcel, State
from fedloom.engines import run
from fedloom.methods.fedavg import fedavg

SETS = ["task=icons-memes", "task.train=32", "task.test=16", "scenario=iid", "scenario.clients=2"]
SETS += ["rounds=2", "adapter.where=['text']", "engine.workers=1"]


def cautious(rate: float = 0.5) -> Method:
    """FedAvg whose server goes the share ``rate`` of the way to the mean."""
    plain = fedavg()

    def step(state: State, total: Parcel) -> State:
        mean = total.trees["adapter"]
        return {**state, "adapter": tree.add(state["adapter"], tree.sub(mean, state["adapter"]), rate)}

    return replace(plain, server=replace(plain.server, step=step))


def main() -> None:
    """Run it, and FedAvg beside it, on the memes that are drawn from icons."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("fedavg", "own_method:cautious"):
            experiment = config.load("icons-classify", [*SETS, f"method={name}"])
            result = run(experiment, Path(folder) / name.replace(":", "-"))
            print(f"{name:20} {result['zero_shot']:.3f} before, {result['final']:.3f} after")


if __name__ == "__main__":  # with engine.workers above 1, each worker imports this file
    main()
