"""Gradients by what learns: without dropout where a method asks for them, zero where a batch does not depend on it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fedloom.core.contracts import Local, LocalRun, Parcel
from fedloom.core.errors import FedloomError
from fedloom.core.seeds import Seeds
from fedloom.core.tables import ClientTable
from fedloom.federation import client
from fedloom.methods.ditto import ditto
from fedloom.methods.fedavg import fedavg
from fedloom.methods.fednano import fednano
from fedloom.methods.fednano_ef import fednano_ef
from fedloom.methods.fedprox import fedprox
from fedloom.models import AdapterSpec
from fedloom.models.checkpoints.checkpoint import read
from fedloom.models.generative import Generative
from fedloom.models.options import Options
from fedloom.models.vision.features import FeatureCache
from tests.models.backbones import examples, shaken

Tiny = Callable[[str], Path]
CONNECTOR = {"rank": 2, "alpha": 4, "modules": ("mlp",), "where": ("connector",)}
VISION = {"rank": 2, "alpha": 4, "where": ("vision",)}
NANO = {"kind": "nano", "rank": 2, "alpha": 4, "where": ("connector",)}


def llava(folder: Path, **adapter: Any) -> Generative:
    spec, cache = AdapterSpec(**adapter), FeatureCache(None, 0, 2**20)
    return Generative(read(str(folder), folder, "float32"), spec, Seeds(0), cache, Options())


def trained(model: Any, method: Any, given: Any, **table: Any) -> tuple[Parcel, dict[str, Any]]:
    settings = ClientTable(**{"lr": 0.1, "batch_size": 2, "optimizer": "sgd", **table})
    start = shaken(model.read())
    told: Any = {"received": Parcel({"adapter": start}), "kept": {}, "initial": start, "lr": settings.lr, "scale": 2.0}
    return client.train(model, given, method, settings, rng=np.random.default_rng(0), **told)


def blind(count: int) -> list[Any]:
    """Examples without a picture."""
    return [replace(e, images=(), prompt=e.prompt.replace("<image> ", "")) for e in examples(count)]


@pytest.mark.parametrize("adapter", [{"rank": 2, "alpha": 4}, NANO | {"where": ("connector", "text")}])
def test_the_fisher_is_that_of_the_trained_adapter_without_dropout(tiny: Tiny, adapter: dict[str, Any]) -> None:
    given = examples(5)
    reply, _ = trained(llava(tiny("llava"), **adapter, dropout=0.3), fednano(), given, lr=0.01)
    still = llava(tiny("llava"), **adapter)
    still.write(reply.trees["adapter"])
    leaves = still.leaves()
    squares = []
    for example in given:
        loss = still.loss(still.collate([example])).sum()
        found = torch.autograd.grad(loss, list(leaves.values()))
        squares.append([gradient.double().square() for gradient in found])
    for number, name in enumerate(leaves):
        wanted = torch.stack([each[number] for each in squares]).mean(dim=0).float()
        torch.testing.assert_close(reply.trees["fisher"][name], wanted, rtol=1e-6, atol=1e-12)


def test_losses_are_without_dropout_and_steps_are_not(tiny: Tiny) -> None:
    seen: list[torch.Tensor] = []

    def look(run: LocalRun) -> dict[str, Any]:
        seen.append(run.losses())
        return {}

    method = replace(fedavg(), local=Local(send=look))
    noisy, _ = trained(llava(tiny("llava"), rank=2, alpha=4, dropout=0.3), method, examples(4))
    plain, _ = trained(llava(tiny("llava"), rank=2, alpha=4), method, examples(4))
    assert noisy.facts["loss"] != plain.facts["loss"]
    still = llava(tiny("llava"), rank=2, alpha=4)
    still.write(noisy.trees["adapter"])
    with torch.no_grad():
        wanted = torch.cat([still.loss(still.collate(examples(4)[at : at + 2])) for at in (0, 2)])
    torch.testing.assert_close(seen[0], wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("adapter", [CONNECTOR, VISION, NANO])
@pytest.mark.parametrize("size", [1, 3])
def test_a_step_without_a_picture_has_the_gradient_zero_and_counts(
    tiny: Tiny, adapter: dict[str, Any], size: int
) -> None:
    """Of SGD with weight decay w, a step of rate lr leaves (1 - lr w) of every number."""
    model = llava(tiny("llava"), **adapter)
    reply, _ = trained(model, fedavg(), blind(3), batch_size=size, weight_decay=0.5)
    assert reply.facts["steps"] == 3 // size
    for name, value in shaken(model.read()).items():
        torch.testing.assert_close(reply.trees["adapter"][name], value * 0.95 ** (3 // size))


@pytest.mark.parametrize("adapter", [CONNECTOR, NANO])
def test_adamw_takes_it_as_a_zero_gradient(tiny: Tiny, adapter: dict[str, Any]) -> None:
    """After a step with a picture the moments go on moving the adapter: torch's own AdamW, given zeros."""
    given = [*examples(1), *blind(2)]
    model = llava(tiny("llava"), **adapter)
    reply, _ = trained(model, fedavg(), given, optimizer="adamw", batch_size=1, epochs=2, weight_decay=0.1)
    model.write(shaken(model.read()))
    leaves = model.leaves()
    torch_own = torch.optim.AdamW(leaves.values(), lr=0.1, weight_decay=0.1)
    rng = np.random.default_rng(0)
    for index in [*rng.permutation(3).tolist(), *rng.permutation(3).tolist()]:
        torch_own.zero_grad(set_to_none=False)
        if given[index].images:
            model.loss(model.collate([given[index]])).mean().backward()
        for leaf in leaves.values():
            leaf.grad = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
        torch_own.step()
    for name, leaf in leaves.items():
        torch.testing.assert_close(reply.trees["adapter"][name], leaf.detach())


@pytest.mark.parametrize("method", [fednano, fednano_ef])
@pytest.mark.parametrize("adapter", [CONNECTOR, NANO])
def test_the_fisher_of_examples_without_a_picture_is_zero(
    tiny: Tiny, adapter: dict[str, Any], method: Callable[[], Any]
) -> None:
    reply, _ = trained(llava(tiny("llava"), **adapter), method(), blind(3))
    assert all(not value.any() for value in reply.trees["fisher"].values())
    mixed, _ = trained(llava(tiny("llava"), **adapter), method(), [*blind(3), *examples(1)])
    assert any(value.any() for value in mixed.trees["fisher"].values())


@pytest.mark.parametrize("method", [fedprox, ditto])
def test_terms_and_personal_adapters_have_such_steps_too(tiny: Tiny, method: Callable[[], Any]) -> None:
    reply, kept = trained(llava(tiny("llava"), **CONNECTOR), method(), blind(3))
    assert reply.facts["steps"] == 2
    assert ("personal" in kept) == (method is ditto)


@pytest.mark.parametrize("method", [fedavg, fednano])
def test_a_loss_that_is_cut_off_where_there_are_pictures_is_told(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, method: Callable[[], Any]
) -> None:
    model = llava(tiny("llava"), **CONNECTOR)
    whole = model.loss
    monkeypatch.setattr(model, "loss", lambda batch: whole(batch).detach())
    with pytest.raises(FedloomError, match=r"batch 1 \(e\d.*the loss does not depend on what learns, though there are"):
        trained(model, method(), [*blind(1), *examples(3)], batch_size=4)
