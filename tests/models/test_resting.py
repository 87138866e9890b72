"""A vision tower whose outputs are kept: asleep it takes no memory, awake it is what was saved, to the bit."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F
from transformers import AutoModel, AutoProcessor

from fedloom.core import resolve
from fedloom.core.contracts import Parcel
from fedloom.core.errors import FedloomError
from fedloom.core.tables import ClientTable
from fedloom.federation import client
from fedloom.models.vision.resting import Resting
from fedloom.objectives.in_batch import in_batch
from tests.models.backbones import ANIMALS, backbone, examples

Tiny = Callable[[str], Path]
both = pytest.mark.parametrize("kind", ["clip", "siglip"])
TEXT = {"where": ["text"]}


def size(model: Any) -> int:
    return sum(weight.numel() for weight in model._model.vision_model.parameters())


def turn(model: Any, **table: Any) -> Any:
    start = model.read()
    given = {"received": Parcel({"adapter": start}), "kept": {}, "initial": start}
    settings = ClientTable(batch_size=2, lr=0.1, **table)
    method = resolve.build("methods", "fedavg", {}, seed=0)
    return client.train(model, examples(4), method, settings, **given, rng=np.random.default_rng(0), lr=0.1, scale=1.0)[
        0
    ]


@both
def test_it_sleeps_until_a_picture_is_new_and_is_then_what_was_saved(kind: str, tiny: Tiny) -> None:
    model = backbone(tiny(kind), adapter=TEXT)
    saved = load_file(tiny(kind) / "model.safetensors")
    vision = model._model.vision_model
    assert size(model) == 0
    model.collate(examples(2))
    for name, weight in vision.named_parameters():
        torch.testing.assert_close(weight.data, saved[f"vision_model.{name}"], rtol=0, atol=0)
    model.prepare(examples(2))  # all of them known
    model.collate(examples(2))
    assert size(model) == 0
    model.collate(examples(4))
    assert size(model) == sum(saved[f"vision_model.{name}"].numel() for name, _ in vision.named_parameters())


@both
def test_a_turn_ends_in_the_same_bits_as_with_a_tower_that_never_sleeps(
    kind: str, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    asleep = turn(backbone(tiny(kind), adapter=TEXT), epochs=2).trees["adapter"]
    monkeypatch.setattr(Resting, "rest", lambda self: None)
    awake = backbone(tiny(kind), adapter=TEXT)
    reply = turn(awake, epochs=2).trees["adapter"]
    assert size(awake) > 0
    assert all(torch.equal(asleep[name], reply[name]) for name in reply)


def test_a_turn_looks_at_all_its_pictures_first_and_at_no_more_than_it_sees(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = backbone(tiny("clip"), adapter=TEXT)
    read: list[int] = []
    pooled = model._texts.pooled
    monkeypatch.setattr(model._texts, "pooled", lambda captions: read.append(size(model)) or pooled(captions))
    turn(model)
    assert read == [
        0,
        0,
        0,
    ]  # two batches, and a last look at the loss: the vision tower is asleep whenever captions are read
    model, looked = backbone(tiny("clip"), adapter=TEXT), []
    encode = model._images.encode
    monkeypatch.setattr(model._images, "encode", lambda pixels: looked.append(1) or encode(pixels))
    turn(model, max_steps=1)
    assert len(looked) == 1
    assert len(model._cache._memory) == 2  # of four pictures those of the one batch


def test_a_tower_whose_features_are_not_kept_stays_awake(tiny: Tiny) -> None:
    for options in ({"memory_limit_bytes": 0}, {"augment": "crop"}):
        model = backbone(tiny("clip"), adapter=TEXT, **options)
        turn(model)
        assert size(model) > 0
        model.answer(examples(4))
        assert size(model) > 0


def test_a_picture_that_comes_twice_is_looked_at_once(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    model, looked = backbone(tiny("clip"), adapter=TEXT), []
    preprocess = model._images.preprocess
    monkeypatch.setattr(model._images, "preprocess", lambda picture: looked.append(1) or preprocess(picture))
    model.prepare([*examples(3), *examples(3)])
    assert len(looked) == 3
    assert size(model) == 0


def test_pictures_that_cannot_all_be_kept_are_not_looked_at_twice(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    model, looked = backbone(tiny("clip"), adapter=TEXT, memory_limit_bytes=100), []
    preprocess = model._images.preprocess
    monkeypatch.setattr(model._images, "preprocess", lambda picture: looked.append(1) or preprocess(picture))
    model.prepare(examples(4))
    assert len(looked) == 1


def test_a_tower_that_learns_never_sleeps(tiny: Tiny) -> None:
    model = backbone(tiny("clip"), adapter={"where": ["vision"]})
    model.collate(examples(2))
    assert size(model) > 0


def test_a_checkpoint_that_changes_meanwhile_is_refused(tiny: Tiny) -> None:
    model = backbone(tiny("clip"), adapter=TEXT)
    file = tiny("clip") / "model.safetensors"
    before = file.stat()
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    try:
        with pytest.raises(FedloomError, match="changed while they were in use"):
            model.collate(examples(1))
    finally:
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    model.collate(examples(1))


def test_features_kept_captions_once_and_at_their_own_length_leave_the_gradients_as_they_are(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By hand: pixels through the tower, a caption an example, filled up to all places that the tower reads."""
    batch = [*examples(4), *examples(2)]  # six pictures of four classes
    model = backbone(tiny("clip"), adapter={"kind": "full", "where": ("text",)}, objective=in_batch())
    model.prepare(batch)
    read, pooled = [], model._texts.pooled
    monkeypatch.setattr(model._texts, "pooled", lambda captions: read.append(captions) or pooled(captions))
    model.loss(model.collate(batch)).mean().backward()
    assert [len(captions) for captions in read] == [4]  # of six examples
    raw = AutoModel.from_pretrained(tiny("clip"))
    processor = AutoProcessor.from_pretrained(tiny("clip"), backend="pil")
    places = raw.config.text_config.max_position_embeddings
    captions = [example.caption.format(example.answer) for example in batch]
    words = processor.tokenizer(captions, return_tensors="pt", padding="max_length", max_length=places)
    pixels = processor.image_processor([example.images[0] for example in batch], return_tensors="pt")
    logits = raw(**words, **pixels).logits_per_image
    gold = torch.arange(len(batch))
    ((F.cross_entropy(logits, gold) + F.cross_entropy(logits.T, gold)) / 2).backward()
    weights = dict(raw.named_parameters())
    leaves = model.leaves()
    assert len(leaves) > 10
    for name, leaf in leaves.items():
        (own,) = [weight for key, weight in weights.items() if name.endswith(key)]
        torch.testing.assert_close(leaf.grad, own.grad, rtol=1e-4, atol=1e-6)
    assert {example.answer for example in batch} == set(ANIMALS)
