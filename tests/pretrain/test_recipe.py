"""The whole recipe at a tiny scale: what it saves loads as a backbone and carries its recipe."""

import json
from functools import partial
from pathlib import Path

import pytest
from safetensors.torch import load_file

from fedloom.core.errors import FedloomError
from fedloom.core.seeds import Seeds
from fedloom.models import AdapterSpec, load
from fedloom.pretrain import clip, recipe, tower, vlm


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both nano models after one step each, of a small batch."""
    folder = tmp_path_factory.mktemp("nano")
    patch = pytest.MonkeyPatch()
    for stage in ("TowerRecipe", "ClipRecipe", "VlmRecipe", "ClaimsRecipe"):
        patch.setattr(recipe, stage, partial(getattr(recipe, stage), batch=8))
    score = tower.score_tower
    patch.setattr(tower, "score_tower", lambda *given, **more: score(*given, batches=1))
    patch.setattr(clip, "score_clip", lambda *given: {"public": 0.5})
    patch.setattr(vlm, "score_vlm", lambda *given: {"counting": 0.5})
    for name in recipe.NAMES:
        recipe.pretrain(name, folder / name, seed=0, scale=1e-9, tower=folder / "tower", tell=lambda text: None)
    patch.undo()
    return folder


@pytest.mark.parametrize("name", recipe.NAMES)
def test_what_is_made_loads_and_says_how(made: Path, name: str) -> None:
    backbone = load(str(made / name), adapter=AdapterSpec(rank=2), seeds=Seeds(0))
    assert backbone.total_parameters > 3e6
    written = json.loads((made / name / "recipe.json").read_text())
    assert written["seed"] == 0
    assert written["tower"]["recipe"]["width"] == 192
    assert not set(written["public_packs"]) & set(written["private_packs"])


def test_the_third_stage_alone_goes_on_from_a_model(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipe, "ClaimsRecipe", partial(recipe.ClaimsRecipe, batch=4))
    monkeypatch.setattr(vlm, "score_vlm", lambda *given: {"counting": 0.25})
    given = {"seed": 3, "scale": 1e-9, "tower": None, "tell": lambda text: None}
    written = recipe.pretrain("nano-vlm", tmp_path / "more", begin=made / "nano-vlm", **given)  # type: ignore[arg-type]
    assert written["recipe"]["claims"]["batch"] == 4
    assert written["scores"] == {"counting": 0.25}
    assert written["seed"] == 0  # that of the stages before
    before, after = (load_file(folder / "model.safetensors") for folder in (made / "nano-vlm", tmp_path / "more"))
    moved = {name for name, value in before.items() if not value.equal(after[name])}
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
