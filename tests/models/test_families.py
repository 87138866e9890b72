"""Each family against the whole model of Transformers on its own processor's inputs."""

import copy
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch.nn import functional as F
from transformers import AutoModelForImageTextToText

from fedloom import models
from fedloom.core.contracts import Example
from fedloom.core.errors import FedloomError
from fedloom.core.seeds import Seeds
from fedloom.federation import gradients
from fedloom.models import AdapterSpec
from fedloom.models.language import decoding
from tests.models import whole
from tests.models.backbones import GENERATIVE, backbone, examples, shaken
from tests.models.checkpoints import picture

Tiny = Callable[[str], Path]
ALL = ("q", "k", "v", "o", "mlp")
KEPT = [{"where": [part], "modules": ALL} for part in ("language", "connector", "vision")]
NANO = {"kind": "nano", "rank": 3, "alpha": 6}
pytestmark = pytest.mark.parametrize("kind", GENERATIVE)


def mixed() -> list[Example]:
    """One picture, one of another shape, two that differ, none."""
    one, two, none, wide = examples(4)
    pair = (picture(8, 30, 12), picture(9))
    two = replace(two, images=pair, prompt="<image> and <image> what is this ?", choices=("a cat", "two", ""))
    none = replace(none, images=(), prompt="what colour is the cat ?", choices=("red", "green and blue"), answer="red")
    return [one, replace(two, answer="two"), none, replace(wide, images=(picture(7, 14, 40),))]


def places(model: Any, many: list[Example]) -> tuple[Any, torch.Tensor]:
    """The batch, and the language model's logits at all its places, ``[B, T, V]``."""
    batch = model.collate(many)
    passage = model._passage(batch.tokens, batch.mask, batch.images, batch.keys)
    every = torch.arange(batch.tokens.shape[1])
    with torch.no_grad():
        return batch, model._middle.logits(passage.embeddings(), batch.mask, every, positions=passage.positions)


@pytest.mark.parametrize("adapter", KEPT)
def test_the_passage_is_what_the_whole_model_reads(kind: str, adapter: dict[str, Any], tiny: Tiny) -> None:
    model = backbone(tiny(kind), adapter=adapter)
    batch, found = places(model, mixed())
    for row, example in enumerate(mixed()):
        given, real = whole.inputs(kind, tiny(kind), example, example.answer), batch.mask[row]
        assert torch.equal(batch.tokens[row][real], given["input_ids"][0])
        expected = whole.logits(kind, tiny(kind), example, example.answer)
        torch.testing.assert_close(found[row][real], expected, rtol=1e-5, atol=1e-5)


def test_losses_are_each_examples_own_in_any_batch(kind: str, tiny: Tiny) -> None:
    """And those that the whole model computes of the answer's tokens and the end."""
    model = backbone(tiny(kind))
    with torch.no_grad():
        together = model.loss(model.collate(mixed()))
        alone = torch.cat([model.loss(model.collate([example])) for example in mixed()])
    expected = []
    for example in mixed():
        text, count = f"{example.answer} </s>", len(example.answer.split()) + 1
        ids = whole.inputs(kind, tiny(kind), example, text)["input_ids"][0]
        made = whole.logits(kind, tiny(kind), example, text)[-count - 1 : -1]
        expected.append(F.cross_entropy(made, ids[-count:]))
    torch.testing.assert_close(together, torch.stack(expected), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("adapter", KEPT)
def test_batches_learn_whatever_pictures_are_in_them(kind: str, adapter: dict[str, Any], tiny: Tiny) -> None:
    """Some examples without a picture, and all: what stands on no picture's way has its gradient, the rest none."""
    model = backbone(tiny(kind), adapter=adapter)
    model.write(shaken(model.read(), size=0.1))
    none = mixed()[2]
    for many in (mixed(), [none, replace(none, answer="green and blue")]):
        slopes = gradients.gradient(model.loss(model.collate(many)).mean(), many, model.leaves())
        moved = [name for name, slope in slopes.items() if slope.any()]
        still = [name for name in slopes if name not in moved]
        if many[0].images or adapter["where"] == [
            "language"
        ]:  # what a Q-Former's last layer makes of words is not used
            assert all(name.startswith("base_model.model.qformer.encoder.layer.1.") for name in still)
        else:
            assert not moved
    model = backbone(tiny(kind), adapter=NANO)
    slopes = gradients.gradient(model.loss(model.collate([none])).mean(), [none], model.leaves())
    assert [bool(slope.any()) for name, slope in slopes.items() if "lora_B" in name] == [
        "embed_tokens" in name for name in slopes if "lora_B" in name
    ]


def test_pictures_matter(kind: str, tiny: Tiny) -> None:
    model = backbone(tiny(kind))
    one, other = examples(1)[0], replace(examples(1)[0], images=(picture(99),))
    assert (model.loss(model.collate([one])) - model.loss(model.collate([other]))).abs() > 1e-3


def test_choices_are_ranked_as_the_whole_model_would(kind: str, tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    plain = decoding.score
    monkeypatch.setattr(decoding, "score", lambda *given: seen.extend(made := plain(*given)) or made)
    model = backbone(tiny(kind))
    for example in mixed():
        scores = []
        for choice in example.choices:
            ids = whole.inputs(kind, tiny(kind), example, f"{choice} </s>".strip())["input_ids"][0]
            count = len(choice.split()) + 1
            made = whole.logits(kind, tiny(kind), example, f"{choice} </s>".strip())[-count - 1 : -1]
            scores.append(-float(F.cross_entropy(made, ids[-count:], reduction="sum")))
        seen.clear()
        assert model.answer([example]) == [example.choices[scores.index(max(scores))]]
        assert seen == pytest.approx(scores, abs=1e-4)


def test_free_answers_are_greedy_generation(kind: str, tiny: Tiny) -> None:
    hugging, processor = whole.parts(kind, tiny(kind))
    free = [replace(example, choices=()) for example in mixed()]
    expected = []
    for example in free:
        given = whole.inputs(kind, tiny(kind), example)
        made = hugging.generate(**given, max_new_tokens=6, do_sample=False, pad_token_id=0)
        new = made[0, given["input_ids"].shape[1] :]
        expected.append(processor.tokenizer.decode(new, skip_special_tokens=True))
    assert backbone(tiny(kind), max_new_tokens=6).answer(free) == expected
    assert any(expected)


def test_what_is_kept_has_the_same_bits_in_any_company(kind: str, tiny: Tiny) -> None:
    """Pictures of several shapes, alone and together, from a cache and not."""
    pictures = [picture(1), picture(2, 40, 14), picture(3, 12, 30), picture(4)]
    many = [replace(e, images=(p,)) for e, p in zip(examples(4), pictures, strict=True)]
    alone, together = (backbone(tiny(kind), adapter={"where": ["language"]}) for _ in range(2))
    batch = together._pictures(many)
    for example in reversed(many):
        alone._pictures([example])
    again = alone._pictures(many)
    assert batch.keys() == again.keys()
    assert all(torch.equal(batch[name], again[name]) for name in batch)


def test_nano_adapters_are_the_formula_written_out(kind: str, tiny: Tiny) -> None:
    """From the whole model's own rows: h + s U D h, s = 6 / 3; what the connector did not make is left alone."""
    model = backbone(tiny(kind), adapter=NANO)
    tree = shaken(model.read())
    model.write(tree)
    image, text = (
        [tree[name] for name in sorted(tree) if ("embed_tokens" in name) is words] for words in (False, True)
    )
    hugging, _ = whole.parts(kind, tiny(kind))
    newline = getattr(hugging.model, "image_newline", None) if hasattr(hugging, "model") else None
    for example in mixed():
        batch = model.collate([example])
        made = model._passage(batch.tokens, batch.mask, batch.images, batch.keys).embeddings()[0]
        given = whole.inputs(kind, tiny(kind), example)
        given = {
            name: v for name, v in given.items() if name not in ("input_ids", "attention_mask", "mm_token_type_ids")
        }
        with torch.no_grad():
            rows = hugging.get_image_features(**given).pooler_output if example.images else []
        shown = iter([h for part in rows for h in part.reshape(-1, 16)])
        for place, token in enumerate(batch.tokens[0]):
            pictured = int(token) == 4
            h = next(shown) if pictured else hugging.get_input_embeddings().weight[token]
            down, up = image if pictured else text
            alone = pictured and newline is not None and torch.equal(h, newline)
            torch.testing.assert_close(made[place], h if alone else h + 2 * up @ (down @ h))
        assert next(shown, None) is None


@pytest.mark.parametrize("where", [["connector"], ["text"], ["connector", "text"]])
def test_nano_adapters_open_with_peft_in_the_whole_model(
    kind: str, where: list[str], tiny: Tiny, tmp_path: Path
) -> None:
    model = backbone(tiny(kind), adapter={**NANO, "where": where})
    tree = shaken(model.read())
    before = places(model, mixed())[1]
    model.write(tree)
    model.save(tmp_path, tree, None, "# A card\n")
    with warnings.catch_warnings(action="ignore"):  # PEFT's, about embeddings
        opened = PeftModel.from_pretrained(AutoModelForImageTextToText.from_pretrained(tiny(kind)), str(tmp_path))
    batch, found = places(model, mixed())
    for row, example in enumerate(mixed()):
        expected = whole.logits(kind, tiny(kind), example, example.answer, opened.eval())
        torch.testing.assert_close(found[row][batch.mask[row]], expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(found, before, atol=1e-3)


def test_nano_adapters_alone_learn_and_what_stands_before_is_kept(kind: str, tiny: Tiny) -> None:
    model = backbone(tiny(kind), adapter=NANO)
    model.write(shaken(model.read()))
    model.loss(model.collate(mixed())).mean().backward()
    assert all(leaf.grad is not None and leaf.grad.any() for leaf in model.leaves().values())
    assert not [n for n, p in model._model.named_parameters() if p.grad is not None or p.requires_grad]
    model._images.encode = lambda pixels: pytest.fail("the connector was asked again")
    assert model.loss(model.collate(mixed())).shape == (4,)


def test_what_the_connector_made_is_not_taken_for_what_goes_into_it(kind: str, tiny: Tiny, tmp_path: Path) -> None:
    """One cache for an adapter in the language model and for one in the connector."""
    backbone(tiny(kind), adapter=KEPT[0], cache_dir=tmp_path).answer(mixed())
    model = backbone(tiny(kind), adapter=KEPT[1], cache_dir=tmp_path)
    model.write(shaken(model.read(), size=0.1))
    model.loss(model.collate(mixed())).mean().backward()
    assert all(leaf.grad is not None for leaf in model.leaves().values())


@pytest.mark.parametrize("adapter", [NANO, KEPT[1]])
def test_a_client_and_a_host_have_the_bits_of_the_whole(kind: str, adapter: dict[str, Any], tiny: Tiny) -> None:
    """The language model is in none of the client's memory."""
    folder = str(tiny(kind))
    one = backbone(tiny(kind), adapter=adapter, max_new_tokens=3)
    half = models.load(
        folder,
        adapter=AdapterSpec(**adapter),
        seeds=Seeds(0),
        edge=True,
        max_new_tokens=3,
        route=lambda language: models.served(folder).language,
    )
    tree = shaken(one.read())
    for model in (one, half):
        model.write(tree)
    assert torch.equal(one.loss(one.collate(mixed())), half.loss(half.collate(mixed())))
    free = [replace(example, choices=()) for example in mixed()]
    assert one.answer([*mixed(), *free]) == half.answer([*mixed(), *free])


def test_settings_that_do_not_fit_are_told(kind: str, tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    model = backbone(tiny(kind))
    family = copy.copy(model._family)
    monkeypatch.setattr(type(family), "shown", lambda self, grid: self.image_token * 2)
    with pytest.raises(FedloomError, match="rows of pictures that take 2 tokens"):
        model.loss(model.collate(examples(1)))
