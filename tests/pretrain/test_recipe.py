"""The whole recipe at a tiny scale: what it saves loads as a backbone and carries its recipe."""

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoProcessor, LlavaForConditionalGeneration

from fedloom.core.errors import FedloomError
from fedloom.core.seeds import Seeds
from fedloom.models import NANO, AdapterSpec, load
from fedloom.pretrain import clip, qformer, recipe, resnet, tower, vlm


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The nano models after one step each, of a small batch."""
    folder = tmp_path_factory.mktemp("nano")
    patch = pytest.MonkeyPatch()
    for stage in (
        "TowerRecipe",
        "ClipRecipe",
        "VlmRecipe",
        "ClaimsRecipe",
        "RelationsRecipe",
        "QFormerRecipe",
        "ResNetRecipe",
    ):
        patch.setattr(recipe, stage, partial(getattr(recipe, stage), batch=8))
    score = tower.score_tower
    patch.setattr(tower, "score_tower", lambda *given, **more: score(*given, batches=1))
    patch.setattr(clip, "score_clip", lambda *given: {"public": 0.5})
    patch.setattr(vlm, "score_vlm", lambda *given: {"counting": 0.5})
    patch.setattr(qformer, "score_qformer", lambda *given: {"counting": 0.5})
    patch.setattr(resnet, "score_resnet", lambda *given: {"public/thing": 0.5})
    patch.setattr(qformer, "TOWER", replace(qformer.TOWER, batch=8))
    for name in recipe.NAMES:
        own = folder / ("own" if name == "nano-qformer" else "tower")
        recipe.pretrain(name, folder / name, seed=0, scale=1e-9, tower=own, tell=lambda text: None)
    patch.undo()
    return folder


@pytest.mark.parametrize("name", recipe.NAMES[:3])
def test_what_is_made_loads_and_says_how(made: Path, name: str) -> None:
    backbone = load(str(made / name), adapter=AdapterSpec(rank=2), seeds=Seeds(0))
    assert backbone.total_parameters > 3e6
    written = json.loads((made / name / "recipe.json").read_text())
    assert written["seed"] == 0
    assert written["tower"]["recipe"]["width"] == 192
    assert not set(written["public_packs"]) & set(written["private_packs"])


def test_a_tower_of_another_shape_is_refused(made: Path, tmp_path: Path) -> None:
    for name, other in (("nano-qformer", "tower"), ("nano-clip", "own")):
        with pytest.raises(FedloomError, match=rf"holds a tower of type .*{name} has one of type .*--tower"):
            recipe.pretrain(name, tmp_path / name, seed=0, scale=1e-9, tower=made / other, tell=lambda text: None)


def test_a_q_formers_tower_begins_as_layers_of_nano_vlms() -> None:
    """Of the same input a layer makes the same, and the whole is no longer the same: it has four of the six."""
    begun = qformer.begun(qformer.TOWER).eval()
    theirs = LlavaForConditionalGeneration.from_pretrained(NANO["nano-vlm"], dtype="float32").model.vision_tower
    states = torch.randn(2, 17, 192, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for own, layer in zip(begun.encoder.layers, theirs.encoder.layers, strict=False):
            made, expected = own(states), layer(states, None)
            made, expected = (one[0] if isinstance(one, tuple) else one for one in (made, expected))
            torch.testing.assert_close(made, expected, rtol=1e-4, atol=1e-4)
    assert len(begun.encoder.layers) == 4


def test_what_a_q_former_learns_is_what_the_backbone_reads(made: Path) -> None:
    """The lessons' prompts, questions and losses are those of the model as it is loaded."""
    model = load(str(made / "nano-qformer"), adapter=AdapterSpec(rank=2), seeds=Seeds(0))
    processor = AutoProcessor.from_pretrained(made / "nano-qformer", backend="pil")
    reader = qformer.Reader(model._model, processor)  # type: ignore[attr-defined]
    rng = np.random.default_rng(0)
    drawn = [vlm.asked(rng, "choose_txt") for _ in range(3)]
    batch, read = reader.batch(drawn), model.collate(drawn)
    for row, example in enumerate(drawn):
        ids = model.collate([example]).tokens[0]
        assert batch.tokens[row][batch.mask[row]].tolist() == ids.tolist()
    with torch.no_grad():
        torch.testing.assert_close(reader.losses(batch), model.loss(read), rtol=2e-2, atol=2e-2)
    assert 0 <= reader.right(drawn) <= 1


def test_a_residual_network_is_made_that_patch_trm_begins_with(made: Path, tmp_path: Path) -> None:
    folder = made / "nano-resnet"
    assert json.loads((folder / "recipe.json").read_text())["scores"] == {"public/thing": 0.5}
    config = json.loads((NANO["patch-trm"] / "config.json").read_text()) | {"pictures": str(folder)}
    (tmp_path / "config.json").write_text(json.dumps(config))
    shutil.copy(folder / "preprocessor_config.json", tmp_path)
    full = AdapterSpec(kind="full", where=("connector",))
    backbone = load(str(tmp_path), adapter=full, seeds=Seeds(0), form="choose_txt")
    weights = load_file(folder / "model.safetensors")
    mine = backbone._model.vision_model.state_dict()  # type: ignore[attr-defined]
    assert all(torch.equal(mine[name], value.float()) for name, value in weights.items() if value.is_floating_point())


def test_the_stages_that_a_model_lacks_go_on_from_it(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipe, "RelationsRecipe", partial(recipe.RelationsRecipe, batch=4))
    monkeypatch.setattr(vlm, "score_vlm", lambda *given: {"counting": 0.25})
    given = {"seed": 3, "scale": 1e-9, "tower": None, "tell": lambda text: None}
    with pytest.raises(FedloomError, match=r"has all of its stages\. Fix: take those .*\(claims, relations\)"):
        recipe.pretrain("nano-vlm", tmp_path / "more", begin=made / "nano-vlm", **given)  # type: ignore[arg-type]
    begin = tmp_path / "begin"
    shutil.copytree(made / "nano-vlm", begin)
    before = json.loads((begin / "recipe.json").read_text())
    del before["recipe"]["relations"]
    (begin / "recipe.json").write_text(json.dumps(before))
    written = recipe.pretrain("nano-vlm", tmp_path / "more", begin=begin, **given)  # type: ignore[arg-type]
    assert written["recipe"]["relations"]["batch"] == 4
    assert written["recipe"]["claims"] == before["recipe"]["claims"]
    assert written["scores"] == {"counting": 0.25}
    assert written["seed"] == 0  # that of the stages before
    old, new = (load_file(folder / "model.safetensors") for folder in (begin, tmp_path / "more"))
    moved = {name for name, value in old.items() if not value.equal(new[name])}
    assert moved
    assert not any("vision_tower" in name for name in moved)
    with pytest.raises(FedloomError, match="expected the folder of a nano-vlm"):
        recipe.pretrain("nano-vlm", tmp_path / "other", begin=made / "nano-clip", **given)  # type: ignore[arg-type]
    with pytest.raises(FedloomError, match="expected the folder of a nano-vlm"):
        recipe.pretrain("nano-clip", tmp_path / "other", begin=made / "nano-vlm", **given)  # type: ignore[arg-type]


def test_an_unknown_name_and_a_folder_that_exists_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FedloomError, match=r"Did you mean 'nano-vlm'"):
        recipe.pretrain("nano-vml", tmp_path / "new", seed=0, scale=1, tower=None, tell=print)
    with pytest.raises(FedloomError, match="already exists"):
        recipe.pretrain("nano-vlm", tmp_path, seed=0, scale=1, tower=None, tell=print)
