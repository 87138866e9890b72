"""What a card says about its adapter runs as it is printed, and the model that it makes is the one that was trained."""

import json
import re
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AutoPeftModel
from transformers import LlavaForConditionalGeneration

from fedloom import models
from fedloom.core.seeds import Seeds
from fedloom.models import usage
from tests.models.backbones import backbone, examples, shaken

Tiny = Callable[[str], Path]


def blocks(card: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", card, re.DOTALL)


def ran(code: str) -> Any:
    names: dict[str, Any] = {}
    with warnings.catch_warnings(action="ignore"):  # PEFT's, about tied layers and embeddings
        exec(code, names)
    return names["model"].eval()


def saved(model: Any, folder: Path) -> None:
    tree = shaken(model.read())
    model.write(tree)
    model.save(folder, tree, None, model.how_to_use(folder))


def logits(model: Any, words: list[int]) -> torch.Tensor:
    with torch.no_grad():
        made: torch.Tensor = model(input_ids=torch.tensor([words])).logits
    return made


@pytest.mark.parametrize("kind", ["clip", "llava"])
def test_the_printed_code_opens_base_and_adapter(kind: str, tiny: Tiny, tmp_path: Path) -> None:
    model = backbone(tiny(kind))
    saved(model, tmp_path / "it's here")
    card = (tmp_path / "it's here" / "README.md").read_text()
    (code,) = blocks(card)
    assert "?" not in card
    opened = ran(code)
    named = {name.replace(".default", ""): value for name, value in opened.named_parameters() if "lora_" in name}
    assert all(torch.equal(named[name], value) for name, value in model.read().items())


def test_of_a_model_that_ships_the_base_is_the_folder_in_the_package(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(models.NANO, "nano-vlm", tiny("llava"))
    model = models.load("nano-vlm", adapter=models.AdapterSpec(rank=2), seeds=Seeds(0))
    saved(model, tmp_path)
    assert json.loads((tmp_path / "adapter_config.json").read_text())["base_model_name_or_path"] == str(tiny("llava"))
    (code,) = blocks((tmp_path / "README.md").read_text())
    assert 'NANO["nano-vlm"]' in code
    assert ran(code).peft_config["default"].r == 2


def test_a_folder_is_named_by_its_whole_path_and_an_id_as_it_is(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny("clip"), tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    assert usage.base_of("model") == str(tmp_path / "model")
    assert usage.base_of("openai/clip-vit-base-patch32") == "openai/clip-vit-base-patch32"
    assert usage.base_of("nano-clip") == str(models.NANO["nano-clip"])


@pytest.mark.parametrize("kind", ["clip", "llava"])
def test_peft_finds_the_base_by_itself(kind: str, tiny: Tiny, tmp_path: Path) -> None:
    saved(backbone(tiny(kind)), tmp_path)
    opened = AutoPeftModel.from_pretrained(str(tmp_path))
    assert (
        type(opened.get_base_model()).__name__
        == {"clip": "CLIPModel", "llava": LlavaForConditionalGeneration.__name__}[kind]
    )


def tied(folder: Path, source: Path) -> Path:
    """A LLaVA whose words that go in and come out share their weight."""
    shutil.copytree(source, folder)
    model = LlavaForConditionalGeneration.from_pretrained(source)
    model.config.tie_word_embeddings = model.config.text_config.tie_word_embeddings = True
    model.tie_weights()
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    "adapter", [{"kind": "nano", "where": ["text"]}, {"where": ["connector"], "names": ["lm_head"]}]
)
def test_of_tied_weights_the_card_says_not_to_merge_and_how_it_can_be_done(
    adapter: dict[str, Any], tiny: Tiny, tmp_path: Path
) -> None:
    model = backbone(tied(tmp_path / "base", tiny("llava")), adapter={"rank": 2, **adapter})
    saved(model, tmp_path / "adapter")
    card = (tmp_path / "adapter" / "README.md").read_text()
    assert "Do not merge" in card
    use, merge = blocks(card)
    words = [2, 5, 6, 7, 9]
    right = logits(ran(use), words)
    with warnings.catch_warnings(action="ignore"):
        wrong = logits(ran(use).merge_and_unload(), words)
    assert not torch.allclose(wrong, right, atol=1e-2)
    torch.testing.assert_close(logits(ran(merge), words), right, rtol=1e-4, atol=1e-4)
    assert model.loss(model.collate(examples(1))).isfinite().all()


@pytest.mark.parametrize("adapter", [{"where": ["connector", "language"]}, {"kind": "nano", "where": ["connector"]}])
def test_an_adapter_elsewhere_in_a_tied_model_can_be_merged(
    adapter: dict[str, Any], tiny: Tiny, tmp_path: Path
) -> None:
    model = backbone(tied(tmp_path / "base", tiny("llava")), adapter={"rank": 2, **adapter})
    assert model.tied_layers == []


def test_a_client_without_the_language_model_knows_that_its_words_are_tied(tiny: Tiny, tmp_path: Path) -> None:
    folder = str(tied(tmp_path / "base", tiny("llava")))
    spec = models.AdapterSpec(kind="nano", where=("text",))
    options = {"edge": True, "route": lambda language: models.served(folder).language}
    half = models.load(folder, adapter=spec, seeds=Seeds(0), **options)
    assert len(half.tied_layers) == 1


def test_untied_weights_need_no_warning(tiny: Tiny) -> None:
    assert backbone(tiny("llava"), adapter={"kind": "nano", "where": ["text"]}).tied_layers == []
