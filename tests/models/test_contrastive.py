from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F
from transformers import AutoModel, AutoProcessor

from fedloom.core.errors import FedloomError
from tests.models.backbones import ANIMALS, backbone, examples

Tiny = Callable[[str], Path]
both = pytest.mark.parametrize("kind", ["clip", "siglip", "siglip2"])
ADAPTERS = [{"where": ["text"]}, {"where": ["vision"]}, {"where": ["vision", "text"]}]


def raw(folder: Path, captions: list[str], count: int = 4) -> Any:
    """What the Hugging Face model itself makes of the first examples' pictures and these captions."""
    model, processor = AutoModel.from_pretrained(folder).eval(), AutoProcessor.from_pretrained(folder, backend="pil")
    siglip = hasattr(model, "logit_bias")
    pictures = [e.images[0] for e in examples(count)]
    padding = {"padding": "max_length", "max_length": 16} if siglip else {"padding": True}
    words = processor.tokenizer(captions, return_tensors="pt", **padding)
    if siglip:
        words.pop("attention_mask", None)
    pixels = processor.image_processor(pictures, return_tensors="pt")
    with torch.no_grad():
        return model(**words, **pixels, return_loss=len(captions) == count)


@both
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_the_loss_is_the_cross_entropy_over_the_choices(kind: str, adapter: dict[str, Any], tiny: Tiny) -> None:
    logits = raw(tiny(kind), [f"a photo of the {animal}" for animal in ANIMALS]).logits_per_image
    model = backbone(tiny(kind), adapter=adapter)
    expected = F.cross_entropy(logits, torch.tensor([0, 1, 2, 3]), reduction="none")
    torch.testing.assert_close(model.loss(model.collate(examples())).detach(), expected, rtol=1e-4, atol=1e-5)
    assert model.answer(examples()) == [ANIMALS[k] for k in logits.argmax(dim=1)]


@both
def test_an_example_is_measured_against_its_own_choices(kind: str, tiny: Tiny) -> None:
    logits = raw(tiny(kind), [f"a photo of the {animal}" for animal in ANIMALS], 2).logits_per_image
    first, second = examples(2)
    second = replace(second, choices=("fish", "dog"), answer="fish")
    model = backbone(tiny(kind))
    expected = [F.cross_entropy(logits[0], torch.tensor(0)), F.cross_entropy(logits[1, [3, 1]], torch.tensor(0))]
    loss = model.loss(model.collate([first, second])).detach()
    torch.testing.assert_close(loss, torch.stack(expected), rtol=1e-4, atol=1e-5)
    nearest = "fish" if logits[1, 3] > logits[1, 1] else "dog"
    assert model.answer([first, second])[1] == nearest


@both
def test_the_loss_within_the_batch_is_the_models_own(kind: str, tiny: Tiny) -> None:
    expected = raw(tiny(kind), [f"a photo of the {animal}" for animal in ANIMALS]).loss
    model = backbone(tiny(kind), loss="contrastive")
    loss = model.loss(model.collate(examples()))
    assert loss.shape == (4,)
    torch.testing.assert_close(loss.mean().detach(), expected, rtol=1e-4, atol=1e-5)


@both
def test_frozen_captions_are_encoded_once(kind: str, tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    model = backbone(tiny(kind), adapter={"where": ["vision"]})
    first = model.loss(model.collate(examples())).detach()
    monkeypatch.setattr(model._texts, "_encode", lambda rows: pytest.fail("encoded again"))
    assert torch.equal(model.loss(model.collate(examples())).detach(), first)
    model.answer(examples())


@both
def test_what_it_cannot_answer_is_named(kind: str, tiny: Tiny) -> None:
    model, example = backbone(tiny(kind)), examples(1)[0]
    with pytest.raises(FedloomError, match=r"'e0': a contrastive model cannot answer freely"):
        model.answer([replace(example, choices=())])
    with pytest.raises(FedloomError, match=r"'e0' has 0 pictures"):
        model.collate([replace(example, images=())])
    with pytest.raises(FedloomError, match=r"'e0': the answer 'cow' is none of its choices"):
        model.collate([replace(example, answer="cow")])
