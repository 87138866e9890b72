"""Clients with an alpha of their own, in a turn."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from fedloom.core import wire
from fedloom.core.contracts import ClientInfo, Job, Parcel
from fedloom.core.errors import FedloomError
from fedloom.federation import client as turns
from fedloom.federation.kept import Kept
from fedloom.federation.scaled import scaled
from fedloom.federation.setup import Setup
from tests.federation import toy


def test_a_turn_begins_at_the_model_that_was_sent_and_ends_in_the_scale_of_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Client 0 has alpha 3 where the table says 2. By hand: a model of scale 1.5 s that begins at B / 1.5, trained on
    its own; what comes back is 1.5 B."""
    sets = ["method=fdylora", "adapter.alpha_from=data", "adapter.alpha=2.0"]
    setup = Setup(toy.experiment(*sets))
    setup.__dict__["clients"] = {"0": ClientInfo("0", 6, 2, factor=1.5)}
    stream = torch.Generator().manual_seed(1)
    sent = {name: torch.randn(value.shape, generator=stream) for name, value in setup.initial.items()}
    began: list[float] = []
    loss = toy.Toy.loss

    def told(self: toy.Toy, batch: Any) -> torch.Tensor:
        found = loss(self, batch)
        began.append(float(found.detach().sum()))
        return found

    monkeypatch.setattr(toy.Toy, "loss", told)
    reply = turns.Trainer(setup, Kept(tmp_path)).run(Job(1, "0", wire.pack(Parcel({"adapter": sent}))))
    assert not reply.error
    assert setup.backbone.factor == 1  # type: ignore[attr-defined]
    found = wire.unpack(reply.parcel, max_bytes=1 << 20).trees["adapter"]
    alone = Setup(toy.experiment("method=fedavg", "adapter.alpha=3.0"))
    begin = Parcel({"adapter": {**sent, toy.B: sent[toy.B] / 1.5}})
    other = turns.Trainer(alone, Kept(tmp_path / "alone")).run(Job(1, "0", wire.pack(begin)))
    expected = wire.unpack(other.parcel, max_bytes=1 << 20).trees["adapter"]
    torch.testing.assert_close(found[toy.B], 1.5 * expected[toy.B], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found[toy.A], expected[toy.A], rtol=1e-5, atol=1e-6)
    assert began[: len(began) // 2] == pytest.approx(began[len(began) // 2 :], rel=1e-5)  # step by step
    assert not torch.equal(found[toy.B], sent[toy.B])


def test_a_backbone_that_cannot_rescale_is_named() -> None:
    mine: Any = SimpleNamespace(name="mine")
    with scaled(mine, 1.0):
        pass
    with (
        pytest.raises(FedloomError, match="'mine' is a backbone of your own, without a method 'rescale'"),
        scaled(mine, 2.0),
    ):
        pass
