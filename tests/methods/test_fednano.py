"""FedNano by hand, and the Fisher information of single examples against numpy's of a model that really trained."""

import numpy as np
import pytest
import torch

from fedloom.core import wire
from fedloom.core.contracts import Parcel, Tree
from fedloom.core.errors import FedloomError
from fedloom.methods.fedavg import fedavg
from fedloom.methods.fednano import fednano
from tests.federation import toy
from tests.methods.fisher import a, begun, by_numpy, merged, one_round, pair, stepped, toys, turn
from tests.methods.helpers import client, reply, run_of, step, to


def test_a_round_by_hand() -> None:
    # examples 1 ... n have gradients 1 ... n: F is 1 and (1 + 4 + 9) / 3 = 14/3; (1 * 20 + 14/3 * 3) / (17/3) = 6
    state = fednano().server.init({"w": torch.zeros(1)}, 1.0, 2)
    state = step(fednano(), state, [(client("0", examples=1), to(w=20.0)), (client("1", examples=3), to(w=3.0))])
    assert state["adapter"]["w"].tolist() == pytest.approx([6.0])


def test_a_round_of_two_clients_that_really_train_is_numpys(monkeypatch: pytest.MonkeyPatch) -> None:
    setup = toys(monkeypatch, "fednano", "scenario.clients=2")
    start = begun(setup)
    after = one_round(setup, start)
    trained = [stepped(setup, name, pair(start)) for name in ("0", "1")]
    for place, name in enumerate((toy.A, toy.B)):
        f0, f1 = (np.square(by_numpy(setup, c, own)[place]).mean(axis=0) for c, own in zip("01", trained, strict=True))
        wanted = (f0 * trained[0][place] + f1 * trained[1][place]) / (f0 + f1)
        np.testing.assert_allclose(after[name].numpy(), wanted, rtol=1e-5)
        assert not np.allclose(wanted, (trained[0][place] + trained[1][place]) / 2, rtol=1e-3)  # what fedavg gives


def test_each_entry_is_weighted_by_its_own_fisher_and_not_by_examples() -> None:
    # (1 * 2 + 3 * 6) / 4; (4 * 8 + 0 * 100) / 4; no Fisher at all: (1 * 1 + 3 * 5) / 4
    assert merged(fednano(), ([2, 8, 1], [1, 4, 0], 1), ([6, 100, 5], [3, 0, 0], 3)) == [5.0, 8.0, 4.0]


def test_a_client_without_fisher_does_not_count_and_without_any_it_is_fedavg() -> None:
    thetas = [[0.1, 0.2], [0.3, -0.7], [1.1, 0.4]]
    none, some = [0.0, 0.0], [0.5, 2.0]
    two = merged(fednano(), (thetas[0], some, 1), (thetas[1], some, 2))
    assert merged(fednano(), (thetas[0], some, 1), (thetas[1], some, 2), (thetas[2], none, 9)) == two
    all_zero = [(theta, none, examples) for theta, examples in zip(thetas, (1, 2, 9), strict=True)]
    assert merged(fednano(), *all_zero) == merged(fedavg(), *all_zero)


def test_one_client_alone_stays_as_it_is() -> None:
    theta = torch.tensor([0.1, -3.7, 1e-20]).tolist()
    assert merged(fednano(), (theta, [1e-30, 3e38, 0.0], 2)) == theta


def test_no_client_has_more_than_its_part_of_an_entry() -> None:
    # K = 5, s = 2/5: the attacker's weight becomes (2/5) (1 + 1 + 2 + 4) / (3/5) = 16/3;
    # entry 1: (1 * 1 + 1 * 2 + 2 * 3 + 4 * 4 + 16/3 * 100) / (8 + 16/3) = (25 + 1600/3) / (40/3) = 41.875
    # entry 2: only the attacker has a Fisher: 2/5 * 100 and 3/5 of the others' plain mean 2.5
    # entry 3: nobody has too much, and nothing changes: (4 + 2 * 100) / 6
    thetas = ([1.0] * 3, [2.0, 2, 1], [3.0, 3, 1], [4.0, 4, 1])
    honest = [(theta, [float(f), 0, 1], 1) for theta, f in zip(thetas, (1, 1, 2, 4), strict=True)]
    attacker = ([100.0] * 3, [3e38, 3e38, 2.0], 1)
    assert merged(fednano(), *honest, attacker) == pytest.approx([41.875, 41.5, 34.0])
    assert merged(fednano(cap=0), *honest, attacker) == pytest.approx([100, 100, 34])


@pytest.mark.parametrize("cap", [0.5, -1.0, float("nan")])
def test_no_such_cap(cap: float) -> None:
    with pytest.raises(FedloomError, match="fednano: cap"):
        fednano(cap)


@pytest.mark.parametrize("weight", [1e-44, 1e-30, 1.0, 1e37])
def test_weights_of_any_size_lose_no_precision(weight: float) -> None:
    rng = np.random.default_rng(0)
    thetas, fishers = rng.standard_normal((2, 5, 40)).astype(np.float32)
    weights = (np.abs(fishers) * weight).astype(np.float32)
    wide = weights.astype(np.longdouble)
    wanted = (wide / wide.sum(axis=0) * thetas).sum(axis=0).astype(np.float32)
    got = merged(
        fednano(cap=0), *((theta.tolist(), own.tolist(), 1) for theta, own in zip(thetas, weights, strict=True))
    )
    np.testing.assert_allclose(np.float32(got), wanted, rtol=2e-7, atol=1e-8)
    same = thetas[0].tolist()  # identical adapters are their own mean, bit by bit
    assert merged(fednano(), *((same, own.tolist(), 1) for own in weights)) == same


def test_the_mean_of_the_squares_of_single_gradients_travels() -> None:
    run = run_of(Parcel({"adapter": a(5.0, 6.0)}), examples=3)
    assert reply(fednano(), run).trees["fisher"]["a"].tolist() == pytest.approx([14 / 3] * 2)  # (1 + 4 + 9) / 3


def test_it_is_that_of_the_trained_adapter(monkeypatch: pytest.MonkeyPatch) -> None:
    setup = toys(monkeypatch, "fednano")
    sent = turn(setup, "0", begun(setup))
    for name, gradients in zip((toy.A, toy.B), by_numpy(setup, "0", pair(sent.trees["adapter"])), strict=True):
        np.testing.assert_allclose(sent.trees["fisher"][name].numpy(), np.square(gradients).mean(axis=0), rtol=1e-4)


@pytest.mark.parametrize("method", ["fednano", "fednano-ef"])
def test_the_upload_is_doubled_and_counted(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    setup = toys(monkeypatch, method)
    parts = wire.sizes(wire.pack(turn(setup, "0", begun(setup))))
    assert parts["fisher"] == parts["adapter"] == 4 * (2 * 4 + 2 * 2)  # float32: A [2, 4], B [2, 2]


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
        fednano().reduce.lift(Parcel({"adapter": a(1.0, 2.0), "fisher": slot}), client("7"), a(0.0, 0.0))
