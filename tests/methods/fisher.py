"""What the tests of FedNano's two methods share: merges of given replies, and the toy model's rounds and gradients."""

from typing import Any

import numpy as np
import pytest
import torch

from fedloom.core.contracts import Method, Parcel, Tree
from fedloom.core.tables import ClientTable
from fedloom.federation.client import train
from fedloom.federation.setup import Setup
from tests.federation import toy
from tests.methods.helpers import client, fold

BEGUN = np.array([[0.3, -0.2], [0.1, 0.4]])
"""The B that toys begin from: with B = 0, as runs do, A would have no gradient."""

Given = tuple[list[float], list[float], int]
Arrays = tuple[np.ndarray, np.ndarray]


def a(*values: float) -> Tree:
    """A tree of one tensor."""
    return {"a": torch.tensor(values)}


def merged(method: Method, *clients: Given) -> list[float]:
    """The merge of ``(adapter, Fisher, examples)``."""
    replies = [
        (Parcel({"adapter": a(*theta), "fisher": a(*weight)}), client(str(number), examples))
        for number, (theta, weight, examples) in enumerate(clients)
    ]
    state = method.server.init({"a": torch.zeros(len(clients[0][0]))}, 1.0, len(clients))
    after: list[float] = method.server.step(state, fold(method, state, replies))["adapter"]["a"].tolist()
    return after


def toys(monkeypatch: pytest.MonkeyPatch, method: str, *sets: str) -> Setup:
    """The toy's setup with that method; s = alpha / rank is 1.5."""
    toy.use(monkeypatch)
    return Setup(toy.experiment(f"method={method}", "adapter.alpha=3.0", *sets))


def begun(setup: Setup) -> Tree:
    """The adapter that toys begin from."""
    return setup.initial | {toy.B: torch.from_numpy(BEGUN).float()}


def turn(setup: Setup, name: str, start: Tree, steps: int = 1) -> Parcel:
    """A client's reply after that many steps of plain SGD with all its examples in the batch."""
    table = ClientTable(lr=0.05, batch_size=100, epochs=steps, optimizer="sgd")
    given: dict[str, Any] = {"kept": {}, "initial": setup.initial, "rng": np.random.default_rng(0)}
    examples, received = setup.training_examples(name), Parcel({"adapter": start})
    sent, _ = train(
        setup.backbone, examples, setup.method, table, received=received, lr=table.lr, scale=setup.scale, **given
    )
    return sent


def pair(adapter: Tree) -> Arrays:
    """A and B in float64."""
    return adapter[toy.A].double().numpy(), adapter[toy.B].double().numpy()


def by_numpy(setup: Setup, name: str, adapter: Arrays) -> Arrays:
    """Each of a client's examples' gradient of ``|s B A x - y|^2`` by A and by B: ``[n, r, k]``, ``[n, o, r]``."""
    examples = setup.training_examples(name)
    x = np.stack([toy.features(example.id).numpy() for example in examples]).astype(np.float64)
    y = np.eye(2)[[toy.CHOICES.index(example.answer) for example in examples]]
    down, up = adapter
    error = 2 * setup.scale * (setup.scale * x @ down.T @ up.T - y)
    return np.einsum("no,or,nk->nrk", error, up, x), np.einsum("no,nr->nor", error, x @ down.T)


def stepped(setup: Setup, name: str, adapter: Arrays) -> Arrays:
    """The adapter after one of ``turn``'s steps."""
    down, up = (
        value - 0.05 * each.mean(axis=0) for value, each in zip(adapter, by_numpy(setup, name, adapter), strict=True)
    )
    return down, up


def one_round(setup: Setup, start: Tree, steps: int = 1) -> Tree:
    """The global adapter after both halves of the method: every client's turn, and the merge of the replies."""
    state = setup.method.server.init(start, setup.scale, len(setup.clients))
    replies = [(turn(setup, name, start, steps), info) for name, info in setup.clients.items()]
    return setup.method.server.step(state, fold(setup.method, state, replies))["adapter"]
