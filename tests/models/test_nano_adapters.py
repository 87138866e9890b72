"""NanoAdapters against the formula written out, as PEFT opens them, and in what they refuse."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForImageTextToText

from fedloom.core.contracts import Tree
from fedloom.core.errors import FedloomError
from tests.models.backbones import backbone, examples, shaken

Tiny = Callable[[str], Path]
NANO = {"kind": "nano", "rank": 3, "alpha": 6}
IMAGE, TEXT = "multi_modal_projector.linear_2", "language_model.embed_tokens"


def losses(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.loss(model.collate(examples()))
    return found


def part(tree: Tree, layer: str) -> tuple[torch.Tensor, torch.Tensor]:
    """D and U beside a layer."""
    names = [f"base_model.model.model.{layer}.lora_{half}.weight" for half in "AB"]
    return tree[names[0]], tree[names[1]]


def test_they_have_two_pairs_of_the_models_width_and_are_zero_in_effect(tiny: Tiny) -> None:
    model = backbone(tiny("llava"), adapter=NANO)
    assert {name: tuple(value.shape) for name, value in model.read().items()} == {
        f"base_model.model.model.{layer}.lora_{half}.weight": shape
        for layer in (IMAGE, TEXT)
        for half, shape in (("A", (3, 16)), ("B", (16, 3)))
    }
    bare = backbone(tiny("llava"), adapter={"rank": 1})  # LoRA, zero in effect too
    assert torch.equal(losses(model), losses(bare))


def test_the_passage_is_the_formula_written_out(tiny: Tiny) -> None:
    """Each place by itself, from the checkpoint's own weights: h + s U D h, s = 6 / 3."""
    model = backbone(tiny("llava"), adapter=NANO)
    tree = shaken(model.read())
    model.write(tree)
    batch = model.collate(examples())
    passage = model._passage(batch.tokens, batch.mask, batch.images, batch.keys)
    raw = AutoModelForImageTextToText.from_pretrained(tiny("llava"))
    pixels = torch.stack([model._images.preprocess(e.images[0])["pixel_values"] for e in examples()])
    with torch.no_grad():
        seen = torch.stack(list(raw.model.get_image_features(pixel_values=pixels).pooler_output))
    made = passage.embeddings()
    for row in range(len(batch.tokens)):
        shown = iter(seen[row])
        for place, (token, real) in enumerate(zip(batch.tokens[row], batch.mask[row], strict=True)):
            if not real:
                continue
            image = int(token) == 4
            h = next(shown) if image else raw.get_input_embeddings().weight[token]
            down, up = part(tree, IMAGE if image else TEXT)
            torch.testing.assert_close(made[row, place], h + 2 * up @ (down @ h))


@pytest.mark.parametrize("where", [["connector"], ["text"], ["connector", "text"]])
def test_the_saved_folder_opens_with_peft_and_answers_the_same(where: list[str], tiny: Tiny, tmp_path: Path) -> None:
    model = backbone(tiny("llava"), adapter={**NANO, "where": where})
    tree = shaken(model.read())
    model.write(tree)
    batch = model.collate(examples())
    model.save(tmp_path, tree, None, "# A card\n")
    base = AutoModelForImageTextToText.from_pretrained(tiny("llava"))
    with warnings.catch_warnings(action="ignore"):  # PEFT's, about embeddings
        opened = PeftModel.from_pretrained(base, str(tmp_path)).eval()
    pixels = torch.stack([model._images.preprocess(e.images[0])["pixel_values"] for e in examples()])
    with torch.no_grad():
        logits = opened(input_ids=batch.tokens, attention_mask=batch.mask.long(), pixel_values=pixels).logits[
            :, batch.target.keep
        ]
    assert torch.equal(losses(model).isfinite(), torch.ones(4, dtype=torch.bool))
    torch.testing.assert_close(batch.target.losses(logits), losses(model), rtol=1e-4, atol=1e-5)
    plain = backbone(tiny("llava"), adapter={"rank": 1})
    assert not torch.allclose(losses(model), losses(plain), atol=1e-3)


def test_only_its_own_tensors_learn_and_what_stands_before_is_kept(tiny: Tiny) -> None:
    model = backbone(tiny("llava"), adapter=NANO)
    model.write(shaken(model.read()))
    model.loss(model.collate(examples())).mean().backward()
    assert all(leaf.grad is not None for leaf in model.leaves().values())
    assert not [n for n, p in model._model.named_parameters() if p.grad is not None or p.requires_grad]
    model._images.encode = lambda pixels: pytest.fail("the connector was asked again")
    assert losses(model).shape == (4,)


def test_generated_words_are_adapted_too(tiny: Tiny) -> None:
    """A free answer is what reading prompt and answer again would choose, word by word."""
    model = backbone(tiny("llava"), adapter=NANO, max_new_tokens=4)
    model.write(shaken(model.read(), seed=5, size=0.5))  # under which no picture's token is generated
    free = [type(e)(e.id, e.images, e.prompt, (), e.answer) for e in examples()]
    made = model.answer(free)
    for example, answer in zip(free, made, strict=True):
        ids = model._prompt(example)
        said: list[int] = []
        for _ in range(4):
            tokens = torch.tensor([[*ids, *said]])
            passage = model._passage(tokens, torch.ones_like(tokens, dtype=torch.bool), model._pictures([example]), ())
            with torch.no_grad():
                last = torch.tensor([tokens.shape[1] - 1])
                token = int(model._middle.logits(passage.embeddings(), passage.mask, last)[0, 0].argmax())
            if token == model._words.end:
                break
            said.append(token)
        assert answer == model._words.text(said)


def test_what_cannot_be_is_refused(tiny: Tiny) -> None:
    with pytest.raises(FedloomError, match="a contrastive model has none"):
        backbone(tiny("clip"), adapter=NANO)
    with pytest.raises(FedloomError, match="Name one or both"):
        backbone(tiny("llava"), adapter={**NANO, "where": ["vision"]})
    model = backbone(tiny("llava"), adapter=NANO)
    with pytest.raises(FedloomError, match="sits beside no weight"):
        model.write(model.read(), shaken(model.read()))
