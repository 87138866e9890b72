"""Federated averaging by hand: Algorithm 1 of McMahan et al. 2017 (arXiv 1602.05629), on fedloom's own pieces.

    python examples/federate_by_hand.py

`fedloom run` does the same with all that a real run needs: cohorts, channels, checkpoints, faults, a page. Here is the
loop alone. One backbone stands for all clients, since only the adapter w differs between them.
"""

from collections.abc import Iterator, Sequence

import torch

from fedloom import models
from fedloom.core import partition, resolve
from fedloom.core.contracts import Backbone, Example, Task, Tree
from fedloom.core.seeds import Seeds
from fedloom.core.tree import WeightedSum

ROUNDS, EPOCHS, BATCH, LR = 2, 1, 8, 0.5


def federated_averaging(backbone: Backbone, clients: Sequence[list[Example]]) -> Iterator[Tree]:
    """The global adapter before round 1 and after each round."""
    w = backbone.read()  # initialise w_0
    yield w
    for _ in range(ROUNDS):  # for each round t
        total = WeightedSum.of(client_update(backbone, clients[0], w), len(clients[0]))
        for examples in clients[1:]:  # for each client k
            total.merge(WeightedSum.of(client_update(backbone, examples, w), len(examples)))
        w = total.mean()  # w_{t+1} <- sum_k n_k / n w_{t+1}^k
        yield w


def client_update(backbone: Backbone, examples: list[Example], w: Tree) -> Tree:
    """ClientUpdate(k, w): E epochs of SGD in batches of B."""
    backbone.write(w)
    leaves = backbone.leaves().values()
    optimiser = torch.optim.SGD(leaves, lr=LR)
    for _ in range(EPOCHS):
        for start in range(0, len(examples), BATCH):
            optimiser.zero_grad()
            backbone.loss(backbone.collate(examples[start : start + BATCH])).mean().backward()
            optimiser.step()  # w <- w - eta grad l(w; b)
    return backbone.read()


def main() -> None:
    """Two icon collections, a client each, train one small CLIP together."""
    seeds = Seeds(0)
    task: Task = resolve.build("tasks", "icons-memes", {"train": 32, "test": 16, "packs": ["elusive", "typicons"]})
    data = task.load()
    scenario = resolve.build("scenarios", "natural", {"by": "pack"})
    metas = [[sample.meta for sample in half] for half in (data.train, data.test)]
    held = partition.deal(scenario, *metas, clients=2, minimum=1, seeds=seeds)
    clients = [[task.word(data.train[index]) for index in mine] for mine in held.train]
    tests = [task.word(sample) for sample in data.test]

    backbone = models.load("nano-clip", adapter=models.AdapterSpec(rank=4, where=("text",)), seeds=seeds)
    for number, w in enumerate(federated_averaging(backbone, clients)):
        backbone.write(w)
        with torch.no_grad():
            loss = backbone.loss(backbone.collate([example for mine in clients for example in mine])).mean()
        answers = backbone.answer(tests)
        right = sum(task.score(sample, answer) for sample, answer in zip(data.test, answers, strict=True))
        print(f"after {number} rounds: loss {loss:.3f}, accuracy {right / len(tests):.3f}")


if __name__ == "__main__":
    main()
