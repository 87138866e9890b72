"""The Fisher merge by hand, and the Fisher information against numpy's of a model that really trained."""

from typing import Any

import numpy as np
import pytest
import torch

from fedloom.core.contracts import Method, Parcel, Tree
from fedloom.core.errors import FedloomError
from fedloom.core.tables import ClientTable
from fedloom.federation.client import train
from fedloom.federation.setup import Setup
from fedloom.methods.fedavg import fedavg
from fedloom.methods.fisher import fisher
from tests.federation import toy
from tests.methods.helpers import client, fold, reply, run_of


def a(*values: float) -> Tree:
    return {"a": torch.tensor(values)}


def merged(*clients: tuple[list[float], list[float], int], method: Method | None = None) -> list[float]:
    """The merge of ``(adapter, Fisher, examples)``."""
    method = method or fisher()
    replies = [
        (Parcel({"adapter": a(*theta), "fisher": a(*weight)}), client(str(number), examples))
        for number, (theta, weight, examples) in enumerate(clients)
    ]
    state = method.server.init({"a": torch.zeros(len(clients[0][0]))}, 1.0, len(clients))
    after: list[float] = method.server.step(state, fold(method, state, replies))["adapter"]["a"].tolist()
    return after


def test_each_entry_is_weighted_by_its_own_fisher_and_not_by_examples() -> None:
    # (1 * 2 + 3 * 6) / 4; (4 * 8 + 0 * 100) / 4; no Fisher at all: (1 * 1 + 3 * 5) / 4
    assert merged(([2, 8, 1], [1, 4, 0], 1), ([6, 100, 5], [3, 0, 0], 3)) == [5.0, 8.0, 4.0]


def test_a_client_without_fisher_does_not_count_and_without_any_it_is_fedavg() -> None:
    thetas = [[0.1, 0.2], [0.3, -0.7], [1.1, 0.4]]
    none, some = [0.0, 0.0], [0.5, 2.0]
    two = merged((thetas[0], some, 1), (thetas[1], some, 2))
    assert merged((thetas[0], some, 1), (thetas[1], some, 2), (thetas[2], none, 9)) == two
    all_zero = [(theta, none, examples) for theta, examples in zip(thetas, (1, 2, 9), strict=True)]
    assert merged(*all_zero) == merged(*all_zero, method=fedavg())


def test_one_client_alone_stays_as_it_is() -> None:
    theta = torch.tensor([0.1, -3.7, 1e-20]).tolist()
    assert merged((theta, [1e-30, 3e38, 0.0], 2)) == theta


@pytest.mark.parametrize("weight", [1e-44, 1e-30, 1.0, 1e37])
def test_weights_of_any_size_lose_no_precision(weight: float) -> None:
    rng = np.random.default_rng(0)
    thetas, fishers = rng.standard_normal((2, 5, 40)).astype(np.float32)
    weights = (np.abs(fishers) * weight).astype(np.float32)
    wide = weights.astype(np.longdouble)
    wanted = (wide / wide.sum(axis=0) * thetas).sum(axis=0).astype(np.float32)
    got = merged(*((theta.tolist(), own.tolist(), 1) for theta, own in zip(thetas, weights, strict=True)))
    np.testing.assert_allclose(np.float32(got), wanted, rtol=2e-7, atol=1e-8)
    same = thetas[0].tolist()  # identical adapters are their own mean, bit by bit
    assert merged(*((same, own.tolist(), 1) for own in weights)) == same


def test_the_mean_of_the_squares_of_single_gradients_travels() -> None:
    run = run_of(Parcel({"adapter": a(5.0, 6.0)}), examples=3)
    assert reply(fisher(), run).trees["fisher"]["a"].tolist() == pytest.approx([14 / 3] * 2)  # (1 + 4 + 9) / 3


def test_running_is_the_mean_of_the_squares_of_the_batches_gradients() -> None:
    method = fisher("running")
    assert method.local.gradient is not None
    run = run_of(Parcel({"adapter": {**a(5.0, 6.0), "b": torch.ones(1)}}), examples=3)
    for number in (1.0, 3.0):
        run.theta["a"].grad = torch.tensor([number, 0.0])  # "b" has no gradient
        method.local.gradient(run)
        run.steps += 1
    sent = reply(method, run).trees["fisher"]
    assert sent["a"].tolist() == [5.0, 0.0]  # (1 + 9) / 2
    assert sent["b"].tolist() == [0.0]
    unmoved = run_of(Parcel({"adapter": a(5.0)}))
    assert reply(method, unmoved).trees["fisher"]["a"].tolist() == [0.0]


def by_numpy(setup: Setup, adapter: Tree) -> tuple[np.ndarray, np.ndarray]:
    """Each example's gradient of ``|s B A x - y|^2`` by A and by B."""
    examples = setup.training_examples("0")
    x = np.stack([toy.features(example.id).numpy() for example in examples]).astype(np.float64)
    y = np.eye(2)[[toy.CHOICES.index(example.answer) for example in examples]]
    down, up = adapter[toy.A].double().numpy(), adapter[toy.B].double().numpy()
    error = 2 * setup.scale * (setup.scale * x @ down.T @ up.T - y)
    return np.einsum("no,or,nk->nrk", error, up, x), np.einsum("no,nr->nor", error, x @ down.T)


@pytest.mark.parametrize("estimate", ["examples", "running"])
def test_it_is_that_of_the_trained_adapter(monkeypatch: pytest.MonkeyPatch, estimate: str) -> None:
    toy.use(monkeypatch)
    setup = Setup(toy.experiment("method=fisher", f"method.estimate={estimate}", "adapter.alpha=3.0"))
    table = ClientTable(lr=0.05, batch_size=100, max_steps=1, optimizer="sgd")
    begun = setup.initial | {toy.B: torch.tensor([[0.3, -0.2], [0.1, 0.4]])}
    given: dict[str, Any] = {"kept": {}, "initial": setup.initial, "rng": np.random.default_rng(0)}
    sent, _ = train(
        setup.backbone,
        setup.training_examples("0"),
        setup.method,
        table,
        received=Parcel({"adapter": begun}),
        lr=table.lr,
        scale=setup.scale,
        **given,
    )
    for name, gradients in zip((toy.A, toy.B), by_numpy(setup, sent.trees["adapter"]), strict=True):
        wanted = np.square(gradients).mean(axis=0)
        if estimate == "running":  # the one batch held all examples, at the adapter before the step
            step = by_numpy(setup, begun)[(toy.A, toy.B).index(name)].mean(axis=0)
            wanted = np.square(step)
        np.testing.assert_allclose(sent.trees["fisher"][name].numpy(), wanted, rtol=1e-4)


BAD: dict[str, tuple[Tree, str]] = {
    "missing": ({}, "Slot 'fisher' of the reply of client '7' lacks tensor 'a'"),
    "short": (a(1.0), r"expected torch.float32 \[2\]"),
    "negative": (a(1.0, -1e-30), "tensor 'a' has an entry that is not at least zero"),
    "no number": (a(1.0, torch.nan), "tensor 'a' has an entry that is not at least zero"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_reply_without_a_proper_fisher_is_refused(case: str) -> None:
    slot, words = BAD[case]
    with pytest.raises(FedloomError, match=words):
        fisher().reduce.lift(Parcel({"adapter": a(1.0, 2.0), "fisher": slot}), client("7"), a(0.0, 0.0))


def test_the_estimate_must_be_known() -> None:
    with pytest.raises(FedloomError, match="fisher: estimate is 'exact', expected examples or running"):
        fisher("exact")  # type: ignore[arg-type]
