"""An optimiser that goes on from round to round, and through a checkpoint."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from fedloom.core.tables import ClientTable
from fedloom.federation import optimisers
from fedloom.federation.round import Stopped
from fedloom.federation.setup import POOL, Setup
from tests.federation import toy
from tests.federation.test_extra import same

Run = Callable[..., dict[str, Any]]
SETS = ("method=centralised", "rounds=3", "client.optimizer=adamw", "client.schedule=cosine", "client.weight_decay=0.1")


def adapter(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter" / "adapter.safetensors")


def test_the_pooled_client_trains_as_one_long_run_of_torchs_own_adamw(run: Run, tmp_path: Path) -> None:
    run(*SETS)
    setup = Setup(toy.experiment(*SETS))
    a, b = (setup.initial[name].clone().requires_grad_() for name in (toy.A, toy.B))
    x = torch.stack([toy.features(sample.id) for sample in setup.data.train])
    y = torch.eye(2)[[toy.CHOICES.index(sample.answer) for sample in setup.data.train]]
    own = torch.optim.AdamW([a, b], weight_decay=0.1)
    for round, rate in ((1, 0.1), (2, 0.055), (3, 0.01)):  # cosine from lr to a tenth of it
        own.param_groups[0]["lr"] = rate
        order = setup.seeds.numpy(f"round/{round}/client/{POOL}/batches").permutation(len(x))
        for begin in range(0, len(x), 2):
            batch = order[begin : begin + 2]
            own.zero_grad()
            (x[batch] @ (b @ a).T - y[batch]).square().sum(dim=1).mean().backward()
            own.step()
    found = adapter(tmp_path / "run")
    torch.testing.assert_close(found[toy.A], a.detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found[toy.B], b.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rounds", [1, 2])
def test_a_run_that_is_resumed_has_the_same_bits(run: Run, tmp_path: Path, rounds: int) -> None:
    run(*SETS, out="whole")
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return (tmp_path / "cut" / "checkpoint" / f"round-{rounds:06d}.safetensors").exists()

    with pytest.raises(Stopped):
        run(*SETS, out="cut", stop=stop)
    run(*SETS, out="cut", resume=True)
    assert asked
    assert same(tmp_path / "whole", tmp_path / "cut")


def test_federated_clients_begin_anew(run: Run, tmp_path: Path) -> None:
    run("method=fedavg", "client.optimizer=adamw")
    assert not list((tmp_path / "run" / "checkpoint" / "clients").rglob("*.safetensors"))


def test_adamax_by_hand() -> None:
    """Kingma and Ba 2015, algorithm 2: m = b1 m + (1 - b1) g, u = max(b2 u, |g|), w -= rate / (1 - b1^t) m / u."""
    leaves = {"a": torch.tensor([1.0, -2.0], requires_grad=True)}
    made = optimisers.make(leaves, ClientTable(optimizer="adamax", betas=[0.8, 0.5]), 0.1)
    w, m, u = torch.tensor([1.0, -2.0]), torch.zeros(2), torch.zeros(2)
    for step, slope in enumerate(([0.5, -4.0], [-0.1, 1.0], [2.0, 0.0]), 1):
        leaves["a"].grad = torch.tensor(slope)
        made.step()
        m = 0.8 * m + 0.2 * torch.tensor(slope)
        u = torch.maximum(0.5 * u, torch.tensor(slope).abs())
        w = w - 0.1 / (1 - 0.8**step) * m / u
        torch.testing.assert_close(leaves["a"].detach(), w, rtol=1e-5, atol=1e-6)
    again = optimisers.make(leaves, ClientTable(optimizer="adamax"), 0.1, optimisers.state(made, leaves))
    assert again.state_dict()["state"][0]["step"] == 3


def test_sgd_has_nothing_to_go_on_with() -> None:
    leaves = {"a": torch.ones(2, requires_grad=True)}
    made = optimisers.make(leaves, ClientTable(optimizer="sgd"), 0.1)
    leaves["a"].grad = torch.ones(2)
    made.step()
    assert optimisers.state(made, leaves) == {}
