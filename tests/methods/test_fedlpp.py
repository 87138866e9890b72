"""FedLPP by hand, and what a coarse way down takes from FedAvg but not from it."""

from pathlib import Path

import pytest
import torch

from fedloom import engines
from fedloom.core.contracts import Parcel, Tree
from fedloom.core.errors import FedloomError
from fedloom.federation.record import RunFolder
from fedloom.methods.fedavg import fedavg
from fedloom.methods.fedlpp import fedlpp
from tests.federation import toy
from tests.methods.helpers import client, step, to


def a(value: float) -> Tree:
    return {"a": torch.tensor([value])}


def test_what_quantisation_loses_stays_at_the_server() -> None:
    replies = [(a(1.25), client("0", 1)), (a(1.5), client("1", 3))]
    start = a(1.0)  # the clients began here, since 1.125 came out of the channel as 1
    for eta, wanted in ((1.0, 1.5625), (0.5, 1.34375)):  # 1.125 + eta (1 * 0.25 + 3 * 0.5) / 4
        method = fedlpp(eta)
        state = method.server.init(a(1.125), 1.0, 2)
        lifted = [method.reduce.lift(Parcel({"adapter": tree}), info, start) for tree, info in replies]
        after = method.server.step(state, method.reduce.lower(method.reduce.merge(*lifted)))
        assert after["adapter"]["a"].item() == wanted


def test_without_loss_it_is_fedavg() -> None:
    turns = [(client("0", 1), to(a=2.0)), (client("1", 3), to(a=6.0))]
    states = [step(m, m.server.init(a(4.0), 1.0, 2), turns) for m in (fedlpp(), fedavg())]
    assert [state["adapter"]["a"].item() for state in states] == [5.0, 5.0]
    alone = step(fedlpp(), fedlpp().server.init(a(4.0), 1.0, 2), turns[:1])
    assert alone["adapter"]["a"].item() == 2.0


@pytest.fixture
def _toy(monkeypatch: pytest.MonkeyPatch) -> None:
    toy.use(monkeypatch)


@pytest.mark.usefixtures("_toy")
def test_with_a_coarse_way_down_it_is_ahead_of_fedavg_by_what_was_lost(tmp_path: Path) -> None:
    found = {}
    for method in ("fedavg", "fedlpp"):
        for rounds in (1, 2):
            folder = tmp_path / f"{method}-{rounds}"
            engines.run(toy.experiment('channel.down=["bf16"]', f"method={method}", f"rounds={rounds}"), folder)
            last = RunFolder(folder).last()
            assert last is not None
            found[method, rounds] = last.state["adapter"]
    for name, before in found["fedlpp", 1].items():  # the first round is sent nothing: all have the start adapter
        torch.testing.assert_close(before, found["fedavg", 1][name])
        lost = before - before.bfloat16().float()
        assert lost.abs().max() > 1e-4
        ahead = found["fedlpp", 2][name] - found["fedavg", 2][name]
        torch.testing.assert_close(ahead, lost, rtol=0, atol=1e-6)
        assert found["fedlpp", 2][name].dtype == torch.float32


def test_eta_must_be_positive() -> None:
    with pytest.raises(FedloomError, match="fedlpp: eta is 0"):
        fedlpp(eta=0.0)
