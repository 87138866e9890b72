"""A contrastive model where an example has no picture: refused, a blank picture, or a learnt vector."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import PeftModel
from PIL import Image
from safetensors.torch import load_file
from torch.nn import functional as F
from transformers import AutoModel, AutoProcessor

from fedloom import models
from fedloom.core.contracts import Example
from fedloom.core.errors import FedloomError
from fedloom.core.resolve import build
from fedloom.models.meta import Meta
from fedloom.models.vision.absent import FILE, NAME, Absent, blank
from tests.models.backbones import ANIMALS, EVERYTHING, backbone, examples, shaken

Tiny = Callable[[str], Path]
both = pytest.mark.parametrize("kind", ["clip", "siglip"])


def unseen(count: int = 4) -> list[Example]:
    """The examples, those of odd number without their picture."""
    return [replace(one, images=()) if n % 2 else one for n, one in enumerate(examples(count))]


def shown(folder: Path) -> list[Example]:
    """The same with the blank picture in its place."""
    picture = blank(AutoProcessor.from_pretrained(folder, backend="pil").image_processor)
    return [replace(one, images=one.images or (picture,)) for one in unseen()]


def test_the_blank_picture_is_the_processors_mean_in_eight_bits() -> None:
    given = {"size": {"shortest_edge": 30}, "crop_size": {"height": 32, "width": 32}, "do_normalize": True}
    picture = blank(SimpleNamespace(**given, image_mean=[0.5, 0.25, 1.0]))
    assert picture.getcolors() == [(32 * 32, (128, 64, 255))]  # 127.5 to the even one
    plain = blank(SimpleNamespace(size={"height": 8, "width": 8}, do_normalize=False, image_mean=[0.1] * 3))
    assert plain.getcolors() == [(8 * 8, (128, 128, 128))]


@both
def test_a_tower_sees_nearly_nothing_of_it(kind: str, tiny: Tiny) -> None:
    processor = AutoProcessor.from_pretrained(tiny(kind), backend="pil").image_processor
    pixels = processor(blank(processor), return_tensors="pt")["pixel_values"]
    levels = torch.tensor([0.5 / 255 / std for std in processor.image_std])[:, None, None]
    assert bool((pixels[0].abs() <= levels + 1e-6).all())


@both
def test_without_the_key_it_is_refused_and_the_key_named(kind: str, tiny: Tiny) -> None:
    model = backbone(tiny(kind))
    for ask in (model.collate, model.answer, lambda each: model.check(each, True)):
        with pytest.raises(FedloomError, match=r"'e1' has 0 pictures.*Set model.absent to 'blank' or 'learned', or"):
            ask(unseen())
    two = [replace(one, images=one.images * 2) for one in examples(1)]
    with pytest.raises(FedloomError, match=r"has 2 pictures; a contrastive model needs exactly one. Choose a task"):
        backbone(tiny(kind), absent="blank").collate(two)


@both
def test_blank_is_as_if_the_blank_picture_were_the_examples_own(kind: str, tiny: Tiny) -> None:
    model = backbone(tiny(kind), absent="blank")
    model.check(unseen(), trained=True)
    mine, expected = (model.loss(model.collate(each)).detach() for each in (unseen(), shown(tiny(kind))))
    assert torch.equal(mine, expected)
    assert model.answer(unseen()) == model.answer(shown(tiny(kind)))
    assert NAME not in model.leaves()


@both
def test_the_learned_vector_begins_as_the_blank_pictures(kind: str, tiny: Tiny) -> None:
    processor = AutoProcessor.from_pretrained(tiny(kind), backend="pil").image_processor
    whole = AutoModel.from_pretrained(tiny(kind)).eval()
    with torch.no_grad():
        expected = whole.get_image_features(**processor(blank(processor), return_tensors="pt")).pooler_output[0]
    model = backbone(tiny(kind), absent="learned")
    torch.testing.assert_close(model.read()[NAME], expected, rtol=1e-4, atol=1e-5)
    plain = backbone(tiny(kind), absent="blank")
    losses = [each.loss(each.collate(unseen())).detach() for each in (model, plain)]
    torch.testing.assert_close(*losses, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("loss", ["answer", "in-batch"])
def test_only_examples_without_a_picture_have_it(loss: str, tiny: Tiny) -> None:
    adapter = {"where": ("vision", "text"), **EVERYTHING}
    model = backbone(tiny("clip"), absent="learned", objective=build("objectives", loss, {}), adapter=adapter)
    batch = model.collate(unseen())
    before = model.loss(batch).detach()
    adapter = model.read()
    adapter[NAME] = shaken({NAME: adapter[NAME]}, size=1.0)[NAME]
    model.write(adapter)
    after = model.loss(batch).detach()
    if loss == "answer":  # the others' rows are as they were
        assert torch.equal(before[::2], after[::2])
    assert bool((before[1::2] != after[1::2]).all())
    model.loss(batch).sum().backward()
    assert model.leaves()[NAME].grad.abs().sum() > 0


def test_the_loss_of_a_learned_vector_by_hand(tiny: Tiny) -> None:
    model = backbone(tiny("clip"), absent="learned")
    vector = shaken({NAME: model.read()[NAME]}, seed=3, size=1.0)[NAME]
    model.write(model.read() | {NAME: vector})
    whole, processor = AutoModel.from_pretrained(tiny("clip")).eval(), AutoProcessor.from_pretrained(tiny("clip"))
    words = processor.tokenizer([f"a photo of the {one}" for one in ANIMALS], return_tensors="pt", padding=True)
    with torch.no_grad():
        texts = F.normalize(whole.get_text_features(**words).pooler_output, dim=-1)
    logits = whole.logit_scale.exp().detach() * texts @ (vector / vector.norm())
    example = unseen()[1]
    expected = -logits.log_softmax(0)[ANIMALS.index(example.answer)]
    torch.testing.assert_close(model.loss(model.collate([example])).detach()[0], expected, rtol=1e-4, atol=1e-5)
    assert model.answer([example]) == [ANIMALS[int(logits.argmax())]]


def test_a_batch_whose_pictures_are_all_there_has_the_bits_of_a_model_without_it(tiny: Tiny) -> None:
    learned, plain = backbone(tiny("clip"), absent="learned"), backbone(tiny("clip"))
    losses = [model.loss(model.collate(examples())) for model in (learned, plain)]
    assert torch.equal(losses[0], losses[1])


def test_read_after_write_is_the_identity_and_what_does_not_fit_changes_nothing(tiny: Tiny) -> None:
    model = backbone(tiny("clip"), absent="learned")
    adapter = shaken(model.read())
    model.write(adapter)
    assert adapter.keys() == model.read().keys()
    assert all(torch.equal(value, model.read()[name]) for name, value in adapter.items())
    width = len(adapter[NAME])
    lacking = {name: value for name, value in adapter.items() if name != NAME}
    for wrong, message in (
        (lacking, f"'{NAME}' is missing; expected \\[{width}\\]"),
        (adapter | {NAME: torch.zeros(3)}, rf"'{NAME}' is \[3\]; expected \[{width}\]"),
    ):
        with pytest.raises(FedloomError, match=message):
            model.write({name: torch.zeros_like(value) for name, value in wrong.items()})
    assert all(torch.equal(value, model.read()[name]) for name, value in adapter.items())
    with pytest.raises(FedloomError, match=f"unexpected '{NAME}'"):
        backbone(tiny("clip")).write(adapter)


def test_an_exported_adapter_opens_in_peft_with_the_vector_beside_it(tiny: Tiny, tmp_path: Path) -> None:
    model = backbone(tiny("clip"), absent="learned")
    adapter = shaken(model.read())
    model.save(tmp_path, adapter, None, "card")
    opened = PeftModel.from_pretrained(AutoModel.from_pretrained(tiny("clip")), tmp_path)
    assert any("lora_A" in name for name, _ in opened.named_parameters())
    assert NAME not in load_file(tmp_path / "adapter_model.safetensors")
    assert torch.equal(load_file(tmp_path / FILE)[NAME], adapter[NAME])
    assert FILE in model.how_to_use(tmp_path)
    assert FILE not in backbone(tiny("clip")).how_to_use(tmp_path)


def test_an_adapter_that_peft_does_not_have_comes_back_with_its_vector(tiny: Tiny, tmp_path: Path) -> None:
    model = backbone(tiny("clip"), absent="learned", adapter={"kind": "full", "where": ("text",)})
    adapter = {name: value + 0.01 for name, value in model.read().items()}
    model.save(tmp_path, adapter, None, "card")
    again: Any = models.opened(tmp_path)
    assert all(torch.equal(value, again.read()[name]) for name, value in adapter.items())
    model.write(adapter)
    assert again.answer(unseen()) == model.answer(unseen())


@both
def test_a_plan_knows_of_it(kind: str, tiny: Tiny) -> None:
    spec = models.AdapterSpec(**EVERYTHING)
    (known,) = Meta(str(tiny(kind)), spec).absent().values()
    assert known.shape == backbone(tiny(kind), absent="learned").read()[NAME].shape


def test_rows_are_filled_by_hand() -> None:
    absent = Absent("learned", SimpleNamespace(size={"height": 2}, do_normalize=False, image_mean=None))
    vectors, there = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([True, False])
    assert absent.filled(vectors, there) is vectors  # nothing is learned yet
    absent.begin(torch.tensor([7.0, 8.0]))
    assert absent.filled(vectors, there).tolist() == [[1.0, 2.0], [7.0, 8.0]]
    assert absent.filled(vectors, torch.tensor([True, True])) is vectors
    assert isinstance(absent.picture, Image.Image)


def test_a_model_that_answers_in_text_refuses_the_key(tiny: Tiny) -> None:
    with pytest.raises(FedloomError, match=r"model\.absent = 'learned'.*answers in text"):
        backbone(tiny("llava"), absent="learned")
