"""One client's turn: its batches, its steps worked out by hand, and errors that say where."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fedloom.core import wire
from fedloom.core.contracts import Job, Local, LocalRun, Method, Parcel
from fedloom.core.errors import FedloomError
from fedloom.core.tables import ClientTable
from fedloom.federation import client
from fedloom.federation.kept import Kept
from fedloom.federation.setup import Setup
from tests.federation import toy

SGD = {"lr": 0.1, "batch_size": 100, "optimizer": "sgd"}


def trained(method: Method, table: ClientTable, setup: Setup, received: Parcel | None = None, **kept: Any) -> Any:
    return client.train(
        setup.backbone,
        setup.training_examples("0"),
        method,
        table,
        received=received or Parcel({"adapter": {}}),
        kept=kept,
        initial=setup.initial,
        rng=np.random.default_rng(0),
        lr=table.lr,
        scale=setup.scale,
    )


def test_one_step_of_sgd_by_hand() -> None:
    setup = Setup(toy.experiment())
    start = setup.initial
    examples = setup.training_examples("0")
    x = torch.stack([toy.features(example.id) for example in examples])
    y = torch.tensor([[1.0, 0.0] if example.answer == "yes" else [0.0, 1.0] for example in examples])
    reply, keep = trained(setup.method, ClientTable(**SGD), setup)
    # B = 0, so the scores are 0, dL/dW = -2/n sum y x^T, dL/dB = dL/dW A^T, dL/dA = B^T dL/dW = 0
    slope = -2 / len(examples) * y.T @ x
    torch.testing.assert_close(reply.trees["adapter"][toy.B], -0.1 * slope @ start[toy.A].T)
    torch.testing.assert_close(reply.trees["adapter"][toy.A], start[toy.A])
    assert reply.facts == {"examples": 6, "steps": 1, "loss": pytest.approx(1.0)}  # |0 - one-hot|^2
    assert keep == {}


def test_starts_from_what_was_sent_over_what_was_kept_over_the_initial_adapter() -> None:
    setup = Setup(toy.experiment())
    seen: list[LocalRun] = []
    method = Method(setup.method.reduce, setup.method.server, Local(keep=lambda run: seen.append(run) or {}))
    kept = {toy.A: torch.full((2, 4), 2.0), toy.B: torch.full((2, 2), 3.0)}
    trained(method, ClientTable(**SGD), setup, Parcel({"adapter": {toy.B: torch.full((2, 2), 4.0)}}), adapter=kept)
    assert torch.equal(seen[0].start[toy.A], kept[toy.A])
    assert torch.equal(seen[0].start[toy.B], torch.full((2, 2), 4.0))


def test_only_what_trains_moves_and_only_what_is_shared_leaves() -> None:
    setup = Setup(toy.experiment())
    start = setup.initial | {toy.B: torch.ones(2, 2)}
    half = Method(setup.method.reduce, setup.method.server, trains=lambda n: n == toy.B, shares=lambda n: n == toy.A)
    reply, keep = trained(half, ClientTable(**SGD), setup, Parcel({"adapter": start}))
    assert reply.trees["adapter"].keys() == {toy.A}
    assert torch.equal(reply.trees["adapter"][toy.A], start[toy.A])
    assert keep["adapter"].keys() == {toy.B}
    assert not torch.equal(keep["adapter"][toy.B], start[toy.B])


def test_a_methods_term_and_gradient_hook_take_part() -> None:
    setup = Setup(toy.experiment())

    def term(run: LocalRun) -> torch.Tensor:
        return run.theta[toy.A].sum() * 10

    def halve(run: LocalRun) -> None:
        for leaf in run.theta.values():
            assert leaf.grad is not None
            leaf.grad.mul_(0.5)

    method = Method(setup.method.reduce, setup.method.server, Local(term=term, gradient=halve))
    start = setup.initial
    reply, _ = trained(method, ClientTable(**SGD), setup)
    # A has no gradient of its own (B = 0): one step of 0.1 along half of the term's gradient, 10
    torch.testing.assert_close(reply.trees["adapter"][toy.A], start[toy.A] - 0.1 * 0.5 * 10)
    assert reply.facts["loss"] == pytest.approx(1.0)  # without the term


@pytest.mark.parametrize("reveals", [{}, {"other": "gradients"}])
def test_what_a_method_does_not_declare_is_not_sent(reveals: dict[str, str]) -> None:
    setup = Setup(toy.experiment())
    for local, slot in ((Local(send=lambda run: {"rows": {}}), "rows"), (Local(rank=lambda run: 1), "rank")):
        method = replace(setup.method, local=replace(local, reveals=reveals))
        with pytest.raises(
            FedloomError, match=rf"send '{slot}' besides the adapter.*reveals={{'{slot}': 'gradients'}}"
        ):
            trained(method, ClientTable(**SGD), setup)
        trained(replace(method, local=replace(local, reveals={slot: "anything"})), ClientTable(**SGD), setup)


def test_the_memory_of_error_feedback_lies_with_the_clients_state(tmp_path: Path) -> None:
    setup, kept = Setup(toy.experiment('channel.up=["feedback", "bf16"]')), Kept(tmp_path)
    reply = client.Trainer(setup, kept).run(Job(1, "0", wire.pack(Parcel({"adapter": setup.initial}))))
    assert not reply.error
    memory = kept.read("0", 1)["feedback"]
    assert memory.keys() == setup.initial.keys()
    assert 0 < memory[toy.B].abs().max() < 2**-8


class TestErrors:
    def turn(self, setup: Setup, folder: Path, round: int = 3) -> Any:
        job = Job(round, "0", wire.pack(Parcel({"adapter": setup.initial})))
        return client.Trainer(setup, Kept(folder)).run(job)

    def test_name_client_round_and_batch(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        setup, calls = Setup(toy.experiment()), []

        def loss(batch: Any) -> torch.Tensor:
            calls.append(batch)
            if len(calls) == 2:
                raise RuntimeError("the picture is torn")
            return toy.Toy.loss(setup.backbone, batch)  # type: ignore[arg-type]

        monkeypatch.setattr(setup.backbone, "loss", loss)
        reply = self.turn(setup, tmp_path)
        assert reply.error.startswith("client '0', round 3: batch 2 (train-")
        assert reply.error.endswith("RuntimeError: the picture is torn")
        assert reply.error.count("train-") == 2
        assert reply.parcel == b""

    def test_a_loss_that_is_no_number(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        setup = Setup(toy.experiment())
        toy_loss = setup.backbone.loss
        monkeypatch.setattr(setup.backbone, "loss", lambda batch: toy_loss(batch) * torch.nan)
        assert "batch 1 (" in (error := self.turn(setup, tmp_path).error)
        assert "the loss is nan. Lower client.lr (now 0.1)" in error

    def test_what_has_diverged_is_neither_sent_nor_kept(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        setup = Setup(toy.experiment("method=local", "client.lr=3e38", "client.max_steps=1"))
        toy_loss = setup.backbone.loss
        monkeypatch.setattr(setup.backbone, "loss", lambda batch: 100 * toy_loss(batch))  # finite; the step is not
        kept = Kept(tmp_path)
        reply = client.Trainer(setup, kept).run(Job(1, "0", wire.pack(Parcel({"adapter": {}}))))
        assert "client '0', round 1: after the last batch, 1: the loss of train-" in reply.error
        assert "Lower client.lr (now 3e+38)" in reply.error
        assert kept.read("0", 8) == {}

    def test_a_broken_parcel(self, tmp_path: Path) -> None:
        reply = client.Trainer(Setup(toy.experiment()), Kept(tmp_path)).run(Job(1, "0", b"nonsense"))
        assert reply.error.startswith("client '0', round 1: Parcel:")

    def test_a_full_disk(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("fedloom.federation.sealed.write_atomic", full)
        setup = Setup(toy.experiment("method=scaffold"))
        parcel = Parcel({"adapter": setup.initial, "control": setup.initial})
        reply = client.Trainer(setup, Kept(tmp_path)).run(Job(1, "0", wire.pack(parcel)))
        assert "No space left on device" in reply.error


def test_the_same_job_gives_the_same_bits_whatever_ran_before(tmp_path: Path) -> None:
    setup = Setup(toy.experiment())
    trainer = client.Trainer(setup, Kept(tmp_path))
    parcel = wire.pack(Parcel({"adapter": setup.initial}))
    first = trainer.run(Job(1, "0", parcel)).parcel
    trainer.run(Job(1, "1", parcel))
    torch.manual_seed(5)
    assert trainer.run(Job(1, "0", parcel)).parcel == first
    assert trainer.run(Job(2, "0", parcel)).parcel != first


def test_an_error_of_fedloom_is_told_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Setup, name: str, round: int) -> Any:
        raise FedloomError("the picture is gone.")

    monkeypatch.setattr(Setup, "training_examples", refuse)
    setup = Setup(toy.experiment())
    reply = client.Trainer(setup, Kept(tmp_path)).run(Job(1, "0", wire.pack(Parcel({"adapter": setup.initial}))))
    assert reply.error == "client '0', round 1: the picture is gone."
