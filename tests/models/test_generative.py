import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import (
    AriaImageProcessorPil,
    AriaProcessor,
    AutoModelForImageTextToText,
    AutoProcessor,
    CLIPImageProcessorPil,
    LlavaOnevisionConfig,
    LlavaOnevisionImageProcessorPil,
    LlavaProcessor,
    PaliGemmaConfig,
    PixtralImageProcessorPil,
    Qwen3VLConfig,
)

from fedloom.core.contracts import Example
from fedloom.core.errors import FedloomError
from fedloom.models import families
from fedloom.models.families import image_tokens
from tests.models.backbones import backbone, examples
from tests.models.checkpoints import images, picture, tokenizer

Tiny = Callable[[str], Path]
ADAPTERS = [{"where": ["language"]}, {"where": ["connector"], "modules": ["mlp"]}, {"where": ["vision"]}]


@cache
def parts(folder: Path) -> tuple[Any, Any]:
    model = AutoModelForImageTextToText.from_pretrained(folder).eval()
    return model, AutoProcessor.from_pretrained(folder, backend="pil")


def naive(folder: Path, example: Example, answer: str) -> Tensor:
    """Log-probability of each answer token and the end, from one plain run of the Hugging Face model."""
    model, processor = parts(folder)
    pictures = {"images": list(example.images)} if example.images else {}
    inputs = processor(text=f"{example.prompt} {answer} </s>", return_tensors="pt", **pictures)
    with torch.no_grad():
        logits = model(**inputs).logits[0]
    tokens = len(answer.split()) + 1
    return -F.cross_entropy(logits[-tokens - 1 : -1], inputs["input_ids"][0, -tokens:], reduction="none")


def mixed() -> list[Example]:
    """One picture, two pictures, none; answers and choices of several words."""
    one, two, none, other = examples(4)
    two = replace(two, images=(picture(8), picture(9)), prompt="<image> and <image> what is this ?")
    none = replace(none, images=(), prompt="what colour is the cat ?", choices=("red", "green and blue"), answer="red")
    return [one, replace(two, choices=("a cat", "two", "the red dog", ""), answer="two"), none, other]


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_the_loss_is_the_mean_cross_entropy_of_answer_and_end(adapter: dict[str, Any], tiny: Tiny) -> None:
    model = backbone(tiny("llava"), adapter=adapter)
    many = [*mixed(), replace(mixed()[2], answer="green and blue")]
    expected = torch.stack([-naive(tiny("llava"), e, e.answer).mean() for e in many])
    torch.testing.assert_close(model.loss(model.collate(many)).detach(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("normalise", [False, True])
def test_ranking_from_one_prefix_is_the_naive_ranking(
    normalise: bool, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fedloom.models.language import decoding

    seen: list[float] = []
    plain = decoding.score
    monkeypatch.setattr(decoding, "score", lambda *given: seen.extend(made := plain(*given)) or made)
    model = backbone(tiny("llava"), normalise=normalise)
    many = mixed()
    answers = model.answer(many)
    order = sorted(range(4), key=lambda i: (len(model._prompt(many[i])), i))
    expected = [[naive(tiny("llava"), e, choice) for choice in e.choices] for e in many]
    flat = torch.stack([tokens.sum() for i in order for tokens in expected[i]])
    torch.testing.assert_close(torch.tensor(seen), flat, rtol=1e-4, atol=1e-4)
    for example, answer, scores in zip(many, answers, expected, strict=True):
        values = [float(s.mean() if normalise else s.sum()) for s in scores]
        assert answer == example.choices[values.index(max(values))]


@pytest.mark.parametrize("normalise", [False, True])
def test_weights_are_the_softmax_of_the_likelihoods_that_rank(normalise: bool, tiny: Tiny) -> None:
    """Choices of no, one and three words: summed with the end after them, or the mean over as many tokens."""
    model = backbone(tiny("llava"), normalise=normalise)
    many = [*mixed(), replace(mixed()[0], choices=())]
    found = model.weighed(many)
    assert [answer for answer, _ in found] == model.answer(many)
    for example, (answer, weights) in zip(many, found, strict=True):
        scores = [naive(tiny("llava"), example, choice) for choice in example.choices]
        likely = [math.exp(float(s.mean() if normalise else s.sum())) for s in scores]
        assert weights == pytest.approx([one / sum(likely) for one in likely], rel=1e-3)
        assert not weights or example.choices[weights.index(max(weights))] == answer


def test_few_rows_at_a_time_give_the_same_scores(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    from fedloom.models.language import decoding

    expected = backbone(tiny("llava")).answer(mixed())
    monkeypatch.setattr(decoding, "_ROWS", 3)
    assert backbone(tiny("llava"), answer_batch=2).answer(mixed()) == expected


def test_free_answers_are_greedy_generation(tiny: Tiny) -> None:
    model, processor = parts(tiny("llava"))
    free = [replace(example, choices=()) for example in mixed()]
    expected = []
    for example in free:
        pictures = {"images": list(example.images)} if example.images else {}
        inputs = processor(text=example.prompt, return_tensors="pt", **pictures)
        made = model.generate(**inputs, max_new_tokens=5, do_sample=False, pad_token_id=0)
        new = made[0, inputs["input_ids"].shape[1] :]
        expected.append(processor.tokenizer.decode(new, skip_special_tokens=True))
    assert backbone(tiny("llava"), max_new_tokens=5).answer(free) == expected
    assert any(expected)


def test_free_and_chosen_answers_come_in_order(tiny: Tiny) -> None:
    model = backbone(tiny("llava"), max_new_tokens=3)
    chosen, free = mixed(), [replace(example, choices=()) for example in mixed()]
    woven = [e for pair in zip(chosen, free, strict=True) for e in pair]
    answers = model.answer(woven)
    assert answers[0::2] == model.answer(chosen)
    assert answers[1::2] == model.answer(free)
    assert model.answer([]) == []


def test_a_prompt_that_does_not_fit_is_named(tiny: Tiny) -> None:
    model, example = backbone(tiny("llava")), examples(1)[0]
    with pytest.raises(FedloomError, match=r"'e0' has 1 pictures but 0 <image> marks"):
        model.collate([replace(example, prompt="which ?")])
    with pytest.raises(FedloomError, match=r"'e0' has 1 pictures but 2 <image> marks .* a text that holds <image>"):
        model.collate([replace(example, prompt="<image> what does <image> mean ?")])
    with pytest.raises(FedloomError, match=r"'e0': the prompt has 7\d tokens, the model reads 64"):
        model.collate([replace(example, prompt="<image> " + "a " * 70)])


@pytest.mark.parametrize("length", range(58, 65))
def test_prompt_and_answer_must_fit_together(length: int, tiny: Tiny) -> None:
    """An OPT of 64 positions: Transformers' own model fails where the 65th would be read."""
    model = backbone(tiny("blip2"), max_new_tokens=4)
    example = examples(1)[0]
    own = replace(example, prompt="<image> " + "a " * (length - 4), choices=("cat and dog", "two and one cat", "no"))
    own = replace(own, answer="cat and dog")
    if length < 64:
        assert len(model._prompt(own)) == length
    for trained, given, more in ((True, own, 3), (False, own, 4), (False, replace(own, choices=()), 3)):
        if length + more <= 64:
            model.check([given], trained)
            made = model.loss(model.collate([given])) if trained else model.answer([given])
            assert len(made) == 1
            continue
        with pytest.raises(FedloomError, match=rf"'e0': the prompt has {length} tokens"):
            model.check([given], trained)
        if length < 64:
            with pytest.raises(IndexError):
                model.loss(model.collate([given])) if trained else model.answer([given])


def test_a_question_longer_than_the_q_former_reads_is_named(tiny: Tiny) -> None:
    model, example = backbone(tiny("instructblip")), examples(1)[0]
    long = replace(example, prompt="<image> " + "a " * 31)
    model.check([long], True)
    model._model.config.qformer_config.max_position_embeddings = 32
    told = r"'e0': the prompt has 33 tokens in the words of the model's Q-Former, which reads 32"
    with pytest.raises(FedloomError, match=told):
        model.check([example, long], False)
    with pytest.raises(FedloomError, match=told):
        model.collate([long])


@pytest.mark.parametrize("kind", ["llava", "blip2", "qwen2_vl"])
def test_scores_that_are_no_numbers_are_no_answer(kind: str, tiny: Tiny) -> None:
    """All leaves are finite, as after a step that was too large; what the model makes of them is not."""
    model = backbone(tiny(kind), max_new_tokens=3)
    chosen, free = mixed()[:3:2], [replace(example, choices=()) for example in mixed()[:3:2]]
    model.answer([*chosen, *free])
    model.write({name: value.fill_(1e30) for name, value in model.read().items()})
    told = r"example 'e[02]': the model's scores of its {} are not finite numbers.*Lower client\.lr"
    with pytest.raises(FedloomError, match=told.format("choices")):
        model.answer(chosen)
    with pytest.raises(FedloomError, match=told.format("next token")):
        model.answer(free)


@pytest.mark.parametrize(
    ("configuration", "told"),
    [
        (Qwen3VLConfig, r"is a 'qwen3_vl', whose pictures .* \(deepstack\), past the connector\. Known: llava_next, "),
        (PaliGemmaConfig, r"is a 'paligemma', whose pictures fedloom cannot place yet\. Known: .* built like LLaVA"),
        (LlavaOnevisionConfig, r"is a 'llava_onevision', whose pictures fedloom cannot place yet"),
    ],
)
def test_a_model_of_no_known_family_is_refused(configuration: type, told: str) -> None:
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(configuration())
    processor = llava_processor(LlavaOnevisionImageProcessorPil(size={"height": 16, "width": 16}))
    with pytest.raises(FedloomError, match=told):
        families.of(model, processor, "theirs")


def llava_processor(pictures: Any) -> Any:
    """LLaVA's, over any image processor: 8 x 8 pixels a token."""
    words = tokenizer(bos=True, eos=False)
    return LlavaProcessor(
        pictures, words, patch_size=8, vision_feature_select_strategy="default", num_additional_image_tokens=1
    )


def test_every_picture_must_take_the_same_number_of_tokens() -> None:
    words = tokenizer(bos=True, eos=False)
    words.image_token, words.image_token_id = "<image>", 4
    assert image_tokens(llava_processor(CLIPImageProcessorPil(**images()))) == 4  # 16 x 16 pixels
    sides = CLIPImageProcessorPil(size={"shortest_edge": 16}, do_center_crop=False)
    assert image_tokens(llava_processor(sides)) is None  # 4 for the square, 8 for the wide one
    assert image_tokens(llava_processor(LlavaOnevisionImageProcessorPil(size={"height": 16, "width": 16}))) is None
    assert image_tokens(llava_processor(PixtralImageProcessorPil(patch_size=8))) is None  # Mistral 3's
    assert image_tokens(AriaProcessor(AriaImageProcessorPil(), words)) is None
