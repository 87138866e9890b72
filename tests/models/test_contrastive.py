import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F
from transformers import AutoModel, AutoProcessor

from fedloom.core.errors import FedloomError
from fedloom.objectives.in_batch import in_batch
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
    found = model.weighed([first, second])
    assert found[1][0] == nearest
    for (_, weights), own in zip(found, (logits[0], logits[1, [3, 1]]), strict=True):
        assert weights == pytest.approx(own.softmax(dim=0).tolist(), rel=1e-3)  # of its own choices, in their order


@both
def test_the_loss_within_the_batch_is_the_models_own(kind: str, tiny: Tiny) -> None:
    expected = raw(tiny(kind), [f"a photo of the {animal}" for animal in ANIMALS]).loss
    model = backbone(tiny(kind), objective=in_batch())
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
    with pytest.raises(FedloomError, match=r"'e0': the caption 'a \{photo\}' is no template for a choice"):
        model.check([replace(example, caption="a {photo}")], True)
    with pytest.raises(FedloomError, match=r"'e0' has 4 choices but 2 captions; expected one a choice"):
        model.answer([replace(example, captions=("cat", "dog"))])
    for trained in (True, False):
        with pytest.raises(FedloomError, match=r"'e0' has 0 pictures"):
            model.check([replace(example, images=())], trained)


def copied(folder: Path, to: Path, **settings: Any) -> Path:
    """A checkpoint with other settings of its tokenizer."""
    shutil.copytree(folder, to)
    file = to / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))
    return to


@pytest.mark.parametrize("where", [["text"], ["vision"]])
@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_what_stands_beside_a_caption_changes_nothing(kind: str, where: list[str], tiny: Tiny, tmp_path: Path) -> None:
    """On whatever side the tokenizer pads: a caption alone, beside a longer one, and as Transformers has it alone."""
    turned = copied(tiny(kind), tmp_path / "turned", padding_side="left", truncation_side="left")
    first, second = examples(2)
    second = replace(second, caption="this is a photo of the {} and two red and blue")
    for folder in (tiny(kind), turned):
        model = backbone(folder, adapter={"where": where})
        alone = model.loss(model.collate([first])).detach()
        beside = model.loss(model.collate([first, second])).detach()[:1]
        torch.testing.assert_close(beside, alone, rtol=1e-5, atol=1e-5)
        vectors = raw(folder, [f"a photo of the {animal}" for animal in ANIMALS], 1).logits_per_image
        torch.testing.assert_close(alone, F.cross_entropy(vectors, torch.tensor([0]), reduction="none"))


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_a_long_caption_loses_its_last_words_and_keeps_its_end(kind: str, tiny: Tiny) -> None:
    """As Transformers' tokenizer cuts it; what is cut must not be all that tells two choices apart."""
    model, example = backbone(tiny(kind)), examples(1)[0]
    words = AutoProcessor.from_pretrained(tiny(kind), backend="pil").tokenizer
    longest = model._texts.longest
    caption = "the red cat " * 40
    expected = words(caption, truncation=True, max_length=longest)["input_ids"]
    assert list(model._texts.tokens(caption)) == expected
    assert expected[-1] == 3
    model.check([replace(example, caption="{} and " + "the red cat " * 40)], True)
    with pytest.raises(FedloomError, match=rf"'e0' \(a text tower that reads {longest} tokens\): its choices .* same"):
        model.check([replace(example, caption="the red cat " * 40 + "{}")], True)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_captions_of_its_own_are_what_a_choice_is_measured_by(kind: str, tiny: Tiny) -> None:
    """Letters, with the texts that they stand for."""
    model, many = backbone(tiny(kind)), examples(4)
    lettered = [
        replace(e, choices=tuple("ABCD"), answer="ABCD"[ANIMALS.index(e.answer)], captions=model._wordings.trained(e))
        for e in many
    ]
    assert torch.equal(model.loss(model.collate(lettered)), model.loss(model.collate(many)))
    assert model.answer(lettered) == ["ABCD"[ANIMALS.index(answer)] for answer in model.answer(many)]


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_what_somebody_wrote_is_no_control_token(kind: str, tiny: Tiny) -> None:
    """CLIP pools the first end mark: one within a caption would hide all that comes after it."""
    model = backbone(tiny(kind))
    tokens = model._texts.tokens("cat </s> dog")
    unknown, end = 1, 3
    words = AutoProcessor.from_pretrained(tiny(kind), backend="pil").tokenizer
    cat, dog = (words.convert_tokens_to_ids(word) for word in ("cat", "dog"))
    begin = [2] if kind == "clip" else []
    assert list(tokens) == [*begin, cat, unknown, unknown, unknown, dog, end]


def test_a_tokenizer_that_lacks_a_token_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    endless = copied(tiny("clip"), tmp_path / "endless")
    file = endless / "tokenizer.json"
    state = json.loads(file.read_text())
    state["post_processor"] = None
    file.write_text(json.dumps(state))
    with pytest.raises(FedloomError, match=r"its tokenizer ends no text with the token 3 at which the text tower"):
        backbone(endless)
    padless = copied(tiny("clip"), tmp_path / "padless", pad_token=None)
    assert torch.equal(*(m.loss(m.collate(examples(2))) for m in (backbone(padless), backbone(tiny("clip")))))


@both
def test_scores_that_are_no_numbers_are_no_answer(kind: str, tiny: Tiny) -> None:
    model = backbone(tiny(kind))
    model.write({name: value.fill_(1e30) for name, value in model.read().items()})
    with pytest.raises(FedloomError, match=r"example 'e0': the model's scores of its choices are not finite numbers"):
        model.answer(examples(2))


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_an_ensemble_is_the_mean_of_its_captions_directions(kind: str, tiny: Tiny) -> None:
    model = backbone(tiny(kind), adapter={"rank": 1})
    few = [replace(e, caption="a {}.", ensemble=("one {} here.", "no {}.")) for e in examples(3)]
    with torch.no_grad():
        images = model._image_vectors(*model._shown(few)).double()
        expected = []
        for name in few[0].choices:
            each = model._text_vectors([f"a {name}.", f"one {name} here.", f"no {name}."]).double()
            expected.append((each / each.norm(dim=1, keepdim=True)).sum(dim=0) / 3)
        texts = torch.stack(expected)
        cosines = (images / images.norm(dim=1, keepdim=True)) @ (texts / texts.norm(dim=1, keepdim=True)).T
        scores = model._model.logit_scale.double().exp() * cosines
        scores = scores + (model._model.logit_bias.double() if kind == "siglip" else 0)
    found = model.ranked(few)
    torch.testing.assert_close(torch.tensor([row for _, row in found]).double(), scores, rtol=1e-5, atol=1e-4)
    assert [answer for answer, _ in found] == [few[0].choices[best] for best in scores.argmax(dim=1).tolist()]


def test_an_ensemble_is_tested_with_and_not_trained_on(tiny: Tiny) -> None:
    model = backbone(tiny("clip"), adapter={"rank": 1})
    few = [replace(e, caption="a {}.", ensemble=("no {}.",)) for e in examples(3)]
    plain = [replace(e, ensemble=()) for e in few]
    with torch.no_grad():
        assert torch.equal(model.loss(model.collate(few)), model.loss(model.collate(plain)))
    assert model.ranked(few) != model.ranked(plain)
