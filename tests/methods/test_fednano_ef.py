"""FedNano-EF by hand, and its running mean of squares against numpy's of a model that really trained."""

import numpy as np
import pytest
import torch

from fedloom.core.contracts import LocalRun, Method, Parcel
from fedloom.methods.fednano import fednano
from fedloom.methods.fednano_ef import fednano_ef
from tests.federation import toy
from tests.methods.fisher import a, begun, by_numpy, merged, one_round, pair, stepped, toys, turn
from tests.methods.helpers import client, fold, reply, run_of


def with_gradients(method: Method, run: LocalRun, *gradients: list[float]) -> LocalRun:
    """The run after steps with these gradients of ``a``, and none of any other tensor."""
    assert method.local.gradient is not None
    for gradient in gradients:
        run.theta["a"].grad = torch.tensor(gradient)
        method.local.gradient(run)
        run.steps += 1
    return run


def test_a_round_by_hand() -> None:
    # F: (1 + 9) / 2 = 5 and 0; 1 alone, and 4; the entry: (5 * 3 + 1 * 9) / 6 and (0 * 8 + 4 * 2) / 4
    method = fednano_ef()
    state = method.server.init(a(0.0, 0.0), 1.0, 2)
    replies = []
    for number, (theta, gradients) in enumerate(
        (([3.0, 8.0], [[1.0, 0.0], [3.0, 0.0]]), ([9.0, 2.0], [[-1.0, 2.0]])),
    ):
        run = run_of(Parcel({"adapter": a(*theta)}))
        replies.append((reply(method, with_gradients(method, run, *gradients)), client(str(number), number + 1)))
    assert method.server.step(state, fold(method, state, replies))["adapter"]["a"].tolist() == [4.0, 2.0]


def test_a_round_of_two_clients_that_really_train_is_numpys(monkeypatch: pytest.MonkeyPatch) -> None:
    setup = toys(monkeypatch, "fednano-ef", "scenario.clients=2")
    start = begun(setup)
    after = one_round(setup, start, steps=2)
    before = [pair(start)] * 2
    between = [stepped(setup, name, own) for name, own in zip("01", before, strict=True)]
    trained = [stepped(setup, name, own) for name, own in zip("01", between, strict=True)]
    for place, name in enumerate((toy.A, toy.B)):
        f0, f1 = (  # the square of each step's mean gradient, at the adapter before the step
            np.mean([np.square(by_numpy(setup, c, own)[place].mean(axis=0)) for own in way], axis=0)
            for c, way in zip("01", zip(before, between, strict=True), strict=True)
        )
        wanted = (f0 * trained[0][place] + f1 * trained[1][place]) / (f0 + f1)
        np.testing.assert_allclose(after[name].numpy(), wanted, rtol=1e-5)
        assert not np.allclose(wanted, (trained[0][place] + trained[1][place]) / 2, rtol=1e-3)  # what fedavg gives


def test_replies_are_merged_as_fednano_merges_them() -> None:
    rng = np.random.default_rng(0)
    clients = [(rng.standard_normal(9).tolist(), rng.integers(0, 2, 9).astype(float).tolist(), n + 1) for n in range(3)]
    assert merged(fednano_ef(), *clients) == merged(fednano(), *clients)
    assert merged(fednano_ef(), ([2, 8, 1], [1, 4, 0], 1), ([6, 100, 5], [3, 0, 0], 3)) == [5.0, 8.0, 4.0]


def test_the_mean_of_the_squares_of_the_batches_gradients_travels() -> None:
    method = fednano_ef()
    run = run_of(Parcel({"adapter": {**a(5.0, 6.0), "b": torch.ones(1)}}), examples=3)
    sent = reply(method, with_gradients(method, run, [1.0, 0.0], [3.0, 0.0])).trees["fisher"]
    assert sent["a"].tolist() == [5.0, 0.0]  # (1 + 9) / 2
    assert sent["b"].tolist() == [0.0]  # no gradient at all
    unmoved = run_of(Parcel({"adapter": a(5.0)}))
    assert reply(method, unmoved).trees["fisher"]["a"].tolist() == [0.0]


def test_it_is_that_of_the_adapter_before_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    setup = toys(monkeypatch, "fednano-ef")
    start = begun(setup)
    sent = turn(setup, "0", start)
    for name, gradients in zip((toy.A, toy.B), by_numpy(setup, "0", pair(start)), strict=True):
        wanted = np.square(gradients.mean(axis=0))  # the one batch held all examples
        np.testing.assert_allclose(sent.trees["fisher"][name].numpy(), wanted, rtol=1e-4)


def test_it_asks_for_no_pass_over_the_data() -> None:
    run = run_of(Parcel({"adapter": a(5.0)}), examples=3)
    run.gradients = run.losses = lambda: pytest.fail("a pass over the data")
    reply(fednano_ef(), with_gradients(fednano_ef(), run, [1.0]))
