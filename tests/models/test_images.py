"""Pictures that a processor cannot take are named, with their example, before anything is trained on."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor
from transformers.image_utils import load_image

from fedloom.core.contracts import Picture
from fedloom.core.errors import FedloomError
from tests.models.backbones import backbone, examples
from tests.models.checkpoints import picture

Tiny = Callable[[str], Path]


def shown(*pictures: Picture) -> list:
    return [replace(e, images=(p,)) for e, p in zip(examples(len(pictures)), pictures, strict=True)]


@pytest.mark.parametrize("where", ["memory", "file"])
def test_a_shape_that_the_processor_was_not_made_for_is_named_with_its_example(
    where: str, tiny: Tiny, tmp_path: Path
) -> None:
    """Qwen2-VL takes no side 200 times as long as the other."""
    model = backbone(tiny("qwen2_vl"))
    long: Picture = Image.new("RGB", (1000, 1))
    if where == "file":
        long.save(tmp_path / "long.png")
        long = tmp_path / "long.png"
    many = shown(picture(0), picture(1, 30), long, picture(2, 25))
    with pytest.raises(FedloomError, match=r"example 'e2': picture .*1000 x 1: .*cannot take it \(ValueError: .*ratio"):
        model.check(many, trained=True)
    with pytest.raises(FedloomError, match="1000 x 1: the model's image processor cannot take it"):
        model.collate(many)
    model.check([*many[:2], *many[3:]], trained=True)


@pytest.mark.parametrize("kind", ["clip", "llava", "idefics3"])
def test_what_is_not_plainly_of_eight_bits_is_opened_beforehand(kind: str, tiny: Tiny, tmp_path: Path) -> None:
    Image.fromarray(np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)).save(tmp_path / "deep.tiff")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    model = backbone(tiny(kind))
    for name, words in (("deep.tiff", "floating-point numbers"), ("broken.png", "cannot be opened")):
        many = shown(picture(0, 4), tmp_path / name, picture(1, 40))
        with pytest.raises(FedloomError, match=rf"example 'e1': picture .*{re.escape(name)}.*{words}"):
            model.check(many, trained=True)


def test_of_many_pictures_few_are_prepared(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    model, seen = backbone(tiny("clip")), []
    before = model._images.preprocess
    monkeypatch.setattr(model._images, "preprocess", lambda p: (seen.append(p.size), before(p)))
    model.check(shown(*(picture(n, 20 + n, 30 + (7 * n) % 50) for n in range(60))), trained=True)
    assert 1 <= len(seen) <= 6


@pytest.mark.parametrize("kind", ["clip", "llava", "qwen2_vl", "siglip2"])
def test_the_model_sees_what_its_processor_makes_of_the_file_as_transformers_opens_it(
    kind: str, tiny: Tiny, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(0, 20, 40).save(tmp_path / "lying.jpg", exif=exif)
    opened = load_image(str(tmp_path / "lying.jpg"))
    assert opened.size == (20, 40)
    expected = AutoImageProcessor.from_pretrained(tiny(kind), backend="pil")(opened, return_tensors="pt")
    seen = backbone(tiny(kind))._images.preprocess(tmp_path / "lying.jpg")
    assert torch.equal(seen["pixel_values"].reshape(-1), expected["pixel_values"].reshape(-1))
