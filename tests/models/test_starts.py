"""Adapters that start from the weights, and a matrix between B and A."""

import copy
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file

from fedloom.core import lora, starts
from fedloom.core.contracts import Tree
from fedloom.core.errors import FedloomError
from fedloom.core.seeds import Seeds
from tests.models.backbones import EVERYTHING, KINDS, backbone, examples, other_rank, shaken
from tests.models.test_contract import equal, losses, raw, transplant

Tiny = Callable[[str], Path]
SVD: dict[str, Any] = {**EVERYTHING, "rank": 2, "alpha": 3, "init": "svd"}  # s = 1.5
SB: dict[str, Any] = {**SVD, "kind": "lora-sb"}
PREFIX = "base_model.model."


def weights(model: Any) -> dict[str, np.ndarray]:
    """The weights of the adapted layers as they are now, in float64."""
    return {m: layer.get_base_layer().weight.detach().double().numpy() for m, layer in model._adapter._layers.items()}


def original(kind: str, folder: Path, model: Any) -> dict[str, np.ndarray]:
    """The same as the checkpoint has them."""
    plain = raw(kind, folder)
    return {
        m: plain.get_submodule(m.removeprefix(PREFIX)).weight.detach().double().numpy() for m in model._adapter._layers
    }


def best(weight: np.ndarray, rank: int) -> np.ndarray:
    """The nearest matrix of that rank, by the eigenvectors of W^T W rather than an SVD."""
    _, vectors = np.linalg.eigh(weight.T @ weight)
    top = vectors[:, -rank:]
    nearest: np.ndarray = weight @ top @ top.T
    return nearest


def opened(kind: str, folder: Path, adapter: Path, model: Any) -> Any:
    """The backbone around the original checkpoint, as PEFT itself adapts it with the folder ``adapter``."""
    with warnings.catch_warnings(action="ignore", category=FutureWarning):  # PEFT's own
        peft = PeftModel.from_pretrained(raw(kind, folder), str(adapter))
    return transplant(model, peft.base_model.model)


@pytest.mark.parametrize("kind", KINDS)
def test_the_start_is_the_best_of_its_rank_and_the_weight_goes_without_it(kind: str, tiny: Tiny) -> None:
    model = backbone(tiny(kind), adapter=SVD)
    now, before = weights(model), original(kind, tiny(kind), model)
    for module, (a, b) in lora.pairs(model.read()).items():
        product = 1.5 * b.double().numpy() @ a.double().numpy()
        np.testing.assert_allclose(product, best(before[module], 2), atol=1e-5)
        np.testing.assert_allclose(now[module] + product, before[module], atol=1e-6)
        # both halves have the singular values: A A^T = B^T B = S / s
        values = np.linalg.svd(before[module], compute_uv=False)[:2] / 1.5
        np.testing.assert_allclose((a @ a.T).numpy(), np.diag(values), atol=1e-5)
        np.testing.assert_allclose((b.T @ b).numpy(), np.diag(values), atol=1e-5)
        assert (a.gather(1, a.abs().argmax(dim=1, keepdim=True)) > 0).all()


@pytest.mark.parametrize("adapter", [SVD, SB], ids=["svd", "sb"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_start_is_zero_in_effect_and_the_same_every_time(kind: str, adapter: dict[str, Any], tiny: Tiny) -> None:
    model, plain = backbone(tiny(kind), adapter=adapter), backbone(tiny(kind))
    torch.testing.assert_close(losses(model), losses(plain), rtol=1e-5, atol=1e-5)
    assert model.answer(examples(8)) == plain.answer(examples(8))
    assert model.fingerprint == plain.fingerprint
    before = torch.random.get_rng_state()
    again = backbone(tiny(kind), seed=1, adapter=adapter)  # nothing of it is drawn
    assert torch.equal(before, torch.random.get_rng_state())
    assert equal(model.read(), again.read())
    assert all(np.array_equal(value, weights(again)[m]) for m, value in weights(model).items())


def test_a_change_to_the_base_is_added_to_what_is_left_of_the_weight(tiny: Tiny) -> None:
    model = backbone(tiny("clip"), adapter=SVD)
    adapter = shaken(model.read())
    model.write(adapter)
    left, kept = losses(model), copy.deepcopy(model._model.state_dict())
    base = other_rank(adapter, rank=3, seed=1)
    model.write(adapter, base)
    before, start = original("clip", tiny("clip"), model), lora.pairs(backbone(tiny("clip"), adapter=SVD).read())
    for module, (a, b) in lora.pairs(base).items():
        taken = 1.5 * (start[module][1] @ start[module][0]).numpy()
        np.testing.assert_allclose(weights(model)[module], before[module] - taken + (b @ a).numpy(), atol=1e-5)
    model.write(adapter)
    assert equal(model._model.state_dict(), kept)
    assert torch.equal(losses(model), left)


@pytest.mark.parametrize("adapter", [SVD, SB], ids=["svd", "sb"])
@pytest.mark.parametrize("case", ["start", "plain", "base", "ranks"])
@pytest.mark.parametrize("kind", ["clip", "llava"])
def test_the_saved_folder_opens_with_peft_on_the_checkpoint_as_it_is(
    kind: str, case: str, adapter: dict[str, Any], tiny: Tiny, tmp_path: Path
) -> None:
    model = backbone(tiny(kind), adapter=adapter)
    learned: Tree = model.read() if case == "start" else shaken(model.read())
    base = None
    if case == "ranks":
        learned = of_rank(learned, 3)
    if case == "base":  # a change to some layers only
        base = {n: v for n, v in other_rank(learned, 3, seed=1).items() if "layers.1" in n}
    model.write(learned, base)
    expected, answers = losses(model), model.answer(examples(8))
    model.save(tmp_path / "adapter", learned, base, "# A card\n")
    assert not any("lora_R" in name for name in load_file(tmp_path / "adapter" / "adapter_model.safetensors"))
    twin = opened(kind, tiny(kind), tmp_path / "adapter", model)
    torch.testing.assert_close(losses(twin), expected, rtol=0, atol=2e-5)
    assert twin.answer(examples(8)) == answers


def of_rank(tree: Tree, rank: int) -> Tree:
    """Random tensors for the same layers in another rank, R among them where there is one."""
    squares = {n: torch.empty(rank, rank) for n in tree if n.endswith(lora.R)}
    return other_rank(tree, rank, seed=2) | shaken(squares, seed=3)


def test_what_comes_before_every_adapted_layer_is_kept_and_right(tiny: Tiny, tmp_path: Path) -> None:
    """The vision tower is frozen: its cached states serve an adapter of any start."""
    adapter = {**SVD, "where": ["connector", "language"]}
    plain = backbone(tiny("llava"), adapter={**adapter, "init": "kaiming"}, cache_dir=tmp_path)
    expected = losses(plain)
    model = backbone(tiny("llava"), adapter=adapter, cache_dir=tmp_path)
    model._images.encode = lambda pixels: pytest.fail("the cache was not used")
    torch.testing.assert_close(losses(model), expected, rtol=1e-5, atol=1e-5)


def test_what_is_adapted_is_not_kept(tiny: Tiny, tmp_path: Path) -> None:
    model = backbone(tiny("llava"), adapter={**SVD, "where": ["vision"]}, cache_dir=tmp_path)
    first = losses(model)
    model.write(shaken(model.read()))
    assert not torch.equal(losses(model), first)


def test_a_rank_above_the_number_of_singular_values_is_refused(tiny: Tiny) -> None:
    with pytest.raises(FedloomError, match=r"rank 13 is more than the 12 singular values of '.*projection'"):
        backbone(tiny("clip"), adapter={**SVD, "rank": 13, "where": ["connector"]})


def test_a_large_weight_has_nearly_the_same_directions(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = torch.randn(60, 50, generator=torch.Generator().manual_seed(0)) @ torch.diag(0.8 ** torch.arange(50))
    whole = starts.directions(weight, 3, Seeds(0), "a")
    monkeypatch.setattr(starts, "EXACT", 49)
    before = torch.random.get_rng_state()
    drawn = starts.directions(weight, 3, Seeds(0), "a")
    assert torch.equal(before, torch.random.get_rng_state())
    assert not torch.equal(drawn[0], whole[0])
    for one, other in zip(drawn, whole, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)
    again = starts.directions(weight, 3, Seeds(0), "a")
    assert all(torch.equal(one, other) for one, other in zip(drawn, again, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_what_lies_between_starts_at_zero_between_orthonormal_directions(kind: str, tiny: Tiny) -> None:
    model = backbone(tiny(kind), adapter=SB)
    before, read = original(kind, tiny(kind), model), model.read()
    assert set(read) == set(model.leaves())
    for module, (a, b) in lora.pairs(read).items():
        assert torch.equal(read[module + lora.R], torch.zeros(2, 2))
        torch.testing.assert_close(a @ a.T, torch.eye(2))
        torch.testing.assert_close(b.T @ b, torch.eye(2))
        np.testing.assert_allclose((b @ b.T).numpy() @ before[module], best(before[module], 2), atol=1e-5)
        np.testing.assert_allclose(before[module] @ (a.T @ a).numpy(), best(before[module], 2), atol=1e-5)
        assert np.array_equal(weights(model)[module], before[module])


@pytest.mark.parametrize("kind", KINDS)
def test_b_r_a_is_the_pair_of_b_r_and_a(kind: str, tiny: Tiny) -> None:
    model, plain = (
        backbone(tiny(kind), adapter=SB),
        backbone(tiny(kind), adapter={**SB, "kind": "lora", "init": "kaiming"}),
    )
    for rank in (2, 5, 1):
        adapter = of_rank(model.read(), rank)
        model.write(adapter)
        assert equal(model.read(), adapter)
        plain.write(lora.tree({m: (a, b @ adapter[m + lora.R]) for m, (a, b) in lora.pairs(adapter).items()}))
        torch.testing.assert_close(losses(model), losses(plain), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_all_three_learn_and_at_first_only_what_lies_between(kind: str, tiny: Tiny) -> None:
    model = backbone(tiny(kind), adapter=SB)
    leaves = model.leaves()
    assert {id(p) for p in model._model.parameters() if p.requires_grad} == {id(leaf) for leaf in leaves.values()}
    model.loss(model.collate(examples())).mean().backward()
    assert {n[-len(lora.R) :] for n, leaf in leaves.items() if leaf.grad is not None and leaf.grad.any()} == {lora.R}
    model.write(shaken(model.read()))
    model.loss(model.collate(examples())).mean().backward()
    assert {n[-len(lora.R) :] for n, leaf in model.leaves().items() if leaf.grad.any()} == {lora.A, lora.B, lora.R}


def test_a_tree_without_its_square_or_with_a_wrong_one_is_refused(tiny: Tiny) -> None:
    model = backbone(tiny("clip"), adapter=SB)
    start = model.read()
    name = next(n for n in start if n.endswith(lora.R))
    with pytest.raises(FedloomError, match=r"missing .*lora_R"):
        model.write({n: v for n, v in start.items() if n != name})
    with pytest.raises(FedloomError, match=r"has R \[3, 3\], expected \[2, 2\]"):
        model.write(start | {name: torch.zeros(3, 3)})
    with pytest.raises(FedloomError, match=r"base: .*unexpected .*lora_R"):
        model.write(start, {name: start[name]})
    assert equal(model.read(), start)


def share(a: torch.Tensor, b: torch.Tensor, update: torch.Tensor) -> float:
    """How much of an update (its norm) lies in the directions of orthonormal B and A."""
    return float((b @ (b.T @ update @ a.T) @ a).norm() / update.norm())


def test_directions_of_the_first_update_hold_most_of_it_and_those_of_the_weight_little() -> None:
    """A random 48 x 32 layer, and the summed gradient of 50 examples whose errors have nothing to do with it."""
    rng = torch.Generator().manual_seed(0)
    weight = torch.randn(48, 32, generator=rng)
    x, errors = torch.randn(50, 32, generator=rng), torch.randn(50, 48, generator=rng)
    update = -0.01 * torch.sign(errors.T @ x)
    own = starts.of_update(update, 8, 2.0, Seeds(0), "m")
    other = starts.between(weight, 8, Seeds(0), "m")
    assert share(own.a, own.b, update) == pytest.approx(0.74, abs=0.04)
    assert share(other.a, other.b, update) == pytest.approx(0.21, abs=0.05)
    assert own.r is not None
    u, s, vt = np.linalg.svd(update.double().numpy(), full_matrices=False)
    np.testing.assert_allclose(2.0 * (own.b @ own.r @ own.a), (u[:, :8] * s[:8]) @ vt[:8], atol=1e-7)
    np.testing.assert_allclose(np.diag(own.r), s[:8] / 2.0, rtol=1e-6)
    np.testing.assert_allclose(own.b.T @ own.b, np.eye(8), atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_slopes_are_the_gradient_by_the_weights(kind: str, tiny: Tiny) -> None:
    """Against a difference quotient: the weight of one layer moved a little along a product of two vectors."""
    model = backbone(tiny(kind), adapter={**SB, "init": "update", "dropout": 0.5})
    start, given = model.read(), examples()
    slopes = model.slopes(given)
    before = [float(leaf.requires_grad) for leaf in model.leaves().values()]
    module = max(slopes, key=lambda name: float(slopes[name].norm()))
    d, k = slopes[module].shape
    u, _, vt = torch.linalg.svd(slopes[module], full_matrices=False)
    ends = []
    for step in (0.002, -0.002):
        model.write(start, {module + lora.A: vt[:1], module + lora.B: step * u[:, :1]})
        ends.append(float(losses(model).sum()))
    model.write(start)
    wanted = float(u[:, 0] @ slopes[module] @ vt[0])
    assert (ends[0] - ends[1]) / 0.004 == pytest.approx(wanted, rel=0.03, abs=1e-3)
    assert not any(layer.get_base_layer().weight.requires_grad for layer in model._adapter._layers.values())
    assert before == [float(leaf.requires_grad) for leaf in model.leaves().values()]
    assert (d, k) == tuple(model._adapter._layers[module].get_base_layer().weight.shape)
