"""A residual network that names classes: its outputs, what it learns, and how Patch-TRM takes it over."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F
from transformers import ConvNextImageProcessorPil, ResNetConfig, ResNetModel

from fedloom import engines
from fedloom.core import config
from fedloom.core.contracts import Example
from fedloom.core.errors import FedloomError
from fedloom.core.seeds import Seeds
from fedloom.models import NANO, AdapterSpec, load, opened
from fedloom.models.meta import Batch, Meta
from fedloom.models.patch_trm.pictures import Patches
from fedloom.objectives.ldam import ldam
from fedloom.pretrain import patch_trm
from tests.models.checkpoints import picture
from tests.tasks.folders import iconqa_folder

NAMES = ("ant", "bee", "cow")
FULL = AdapterSpec(kind="full", where=("vision", "connector"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small ResNet as save_pretrained writes it, with Transformers' own image processor."""
    place = tmp_path_factory.mktemp("resnet")
    torch.manual_seed(0)
    made = ResNetModel(ResNetConfig(embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1], layer_type="basic"))
    made.save_pretrained(place)
    ConvNextImageProcessorPil(size={"shortest_edge": 32}, crop_pct=1.0).save_pretrained(place)
    return place


def icons(count: int = 4) -> list[Example]:
    return [Example(f"i{n}", (picture(n),), "<image> What?", NAMES, NAMES[n % 3]) for n in range(count)]


def loaded(folder: Path | str, **options: Any) -> Any:
    return load(str(folder), adapter=options.pop("adapter", FULL), seeds=Seeds(0), classes=NAMES, **options)


def cosines(made: Any, examples: Sequence[Example]) -> torch.Tensor:
    pixels = torch.stack([made._images.preprocess(example.images[0])["pixel_values"] for example in examples])
    seen = made.network(pixels.flatten(0, -4)).pooler_output.flatten(1)
    return torch.stack([30 * F.cosine_similarity(one, made.leaves()["connector.weight"], dim=1) for one in seen])


def test_outputs_are_scaled_cosines_of_the_classes(folder: Path) -> None:
    made = loaded(folder)
    examples = icons()
    with torch.no_grad():
        expected = cosines(made, examples)
        torch.testing.assert_close(made.outputs(made.collate(examples)).labels().logits, expected, rtol=1e-4, atol=1e-4)
    losses = made.loss(made.collate(examples))
    torch.testing.assert_close(losses, F.cross_entropy(expected, torch.tensor([0, 1, 2, 0]), reduction="none"))
    for (answer, scores), row in zip(made.ranked(examples), expected, strict=True):
        assert answer == NAMES[int(row.argmax())]
        assert scores == pytest.approx(row.tolist(), abs=1e-3)
    losses.sum().backward()
    assert made.leaves()["vision_model.embedder.embedder.convolution.weight"].grad.abs().sum() > 0


def test_an_objective_of_the_turn_reaches_the_loss(folder: Path) -> None:
    made = loaded(folder, objective=ldam())
    examples = icons(5)  # two ants, two bees, one cow
    made.begin_turn(examples, 0.0)
    with torch.no_grad():
        scores = cosines(made, examples)
        margins = 30 * 0.5 * torch.tensor([(1 / 2) ** 0.25, (1 / 2) ** 0.25, 1.0])
        gold = torch.tensor([0, 1, 2, 0, 1])
        moved = scores - F.one_hot(gold, 3) * margins
        expected = F.cross_entropy(moved, gold, reduction="none")
        torch.testing.assert_close(made.loss(made.collate(examples)), expected, rtol=1e-3, atol=1e-3)


def test_what_does_not_fit_is_refused(folder: Path) -> None:
    made = loaded(folder)
    with pytest.raises(FedloomError, match=r"example 'x' has 0 pictures; .* names one"):
        made.collate([Example("x", (), "", NAMES, "ant")])
    with pytest.raises(FedloomError, match=r"has no label 'elk'\. Choose a task whose classes are the model's"):
        made.collate([Example("x", (picture(0),), "", ("ant", "elk"), "ant")])
    with pytest.raises(FedloomError, match=r"names classes, and none are known here\. Choose a task that has some"):
        load(str(folder), adapter=FULL, seeds=Seeds(0))


def test_weights_that_are_not_there_are_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "it")
    weights = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in weights.items() if "stages.1" not in name}
    save_file(kept, tmp_path / "it" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(FedloomError, match=r"has no 'encoder\.stages\.1\..*' in its files, and \d+ more"):
        loaded(tmp_path / "it")


def test_a_plan_counts_its_parts(folder: Path) -> None:
    meta = Meta(str(folder), FULL, classes=NAMES)
    made = loaded(folder)
    assert {name: leaf.shape for name, leaf in meta.leaves().items()} == {
        n: leaf.shape for n, leaf in made.leaves().items()
    }
    assert meta.activations(Batch(4)) > 0


def test_a_run_of_it_is_what_patch_trm_begins_with(tmp_path: Path) -> None:
    """The preset for icons in miniature, and a Patch-TRM for IconQA with the residual network that it trained."""
    sets = ["task.classes=4", "task.packs=['lucide','remix']", "scenario.clients=2", "rounds=2", "engine.workers=1"]
    result = engines.run(config.load("icon-pretraining", [*sets, "client.epochs=1"]), tmp_path / "run")
    assert result["left_out"] == []
    trained: Any = opened(tmp_path / "run" / "adapter")
    assert trained.name.startswith(str(NANO["nano-resnet"]))
    data = iconqa_folder(tmp_path / "data")
    made = patch_trm.make(tmp_path / "model", data, str(tmp_path / "run" / "adapter"), "")
    assert set(made.answers) == {str(n) for n in range(29, 36)}  # of train and val
    assert {"kites", "row", "follows"} <= set(made.dictionary)
    assert json.loads((tmp_path / "model" / "preprocessor_config.json").read_text())["size"] == 32
    whole: Any = load(
        str(tmp_path / "model"),
        adapter=AdapterSpec(kind="full", where=("connector",)),
        seeds=Seeds(0),
        form="choose_txt",
    )
    mine, theirs = whole._model.vision_model.state_dict(), trained.network.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in mine.items())
    base = ResNetModel.from_pretrained(NANO["nano-resnet"], dtype=torch.float32).state_dict()
    assert not all(torch.equal(value, base[name]) for name, value in mine.items())  # it has learnt


def test_a_model_for_iconqa_takes_a_real_resnets_folder_and_refuses_what_is_none(folder: Path, tmp_path: Path) -> None:
    data = iconqa_folder(tmp_path / "data")
    made = patch_trm.make(tmp_path / "model", data, str(folder), "")
    assert (made.patch_size, made.pictures) == (224, "pictures")
    moved = (tmp_path / "model").rename(tmp_path / "moved")  # it has all that it needs
    assert load(str(moved), adapter=AdapterSpec(kind="full", where=("connector",)), seeds=Seeds(0)).name
    moved.rename(tmp_path / "model")
    assert json.loads((tmp_path / "model" / "preprocessor_config.json").read_text()) == json.loads(
        Patches().to_json_string()
    )
    for out, pictures, texts, match in (
        ("model", str(folder), "", "already exists"),
        ("new", str(tmp_path / "none"), "", r"--pictures .*none: is no folder\. Fetch the model"),
        ("new", str(folder), str(folder), r"--texts .*: holds a 'resnet'; expected a 'bert'"),
    ):
        with pytest.raises(FedloomError, match=match):
            patch_trm.make(tmp_path / out, data, pictures, texts)
    (data / "problems.json").write_text("{}")
    with pytest.raises(FedloomError, match="holds no questions with words, or no blanks in train and val"):
        patch_trm.make(tmp_path / "new", data, str(folder), "")
