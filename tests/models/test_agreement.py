"""What is trained on, ranked and generated agree token by token, in every family, wherever the picture stands."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from fedloom.core.contracts import Example
from tests.models import whole
from tests.models.backbones import GENERATIVE, backbone, examples
from tests.models.checkpoints import picture

Tiny = Callable[[str], Path]
PROMPTS = (
    "<image> which animal is this ? answer :",
    "which <image> animal is this ?",
    "which animal is this ? <image>",
    "<image> and <image> what is this ?",
    "what colour is the cat ?",
    "<image> what is this ?" + " is this a cat ?" * 4,
)
CHOICES = ("cat", "a cat", "a cat and the red dog", "yes")
pytestmark = pytest.mark.parametrize("kind", GENERATIVE)


def many() -> list[Example]:
    """Each prompt once, with pictures of several shapes."""
    shapes = iter([picture(1), picture(2, 30, 12), picture(3), picture(4, 14, 40), picture(5), picture(6), picture(7)])
    return [
        replace(
            examples(1)[0],
            id=f"e{number}",
            images=tuple(next(shapes) for _ in range(prompt.count("<image>"))),
            prompt=prompt,
            choices=CHOICES,
            answer=CHOICES[number % 4],
        )
        for number, prompt in enumerate(PROMPTS)
    ]


class Spy:
    """A language model that keeps what it was asked."""

    def __init__(self, model: Any) -> None:
        self.middle, self.ranked, self.scores, self.generated = model._middle, [], [], []
        model._middle = self

    def losses(self, *given: Any) -> Any:
        return self.middle.losses(*given)

    def rank(self, passage: Any, continuations: Any, speech: Any) -> list[float]:
        self.ranked.append((passage, continuations, speech))
        self.scores += (made := self.middle.rank(passage, continuations, speech))
        return made

    def generate(self, passage: Any, longest: int, speech: Any) -> list[list[int]]:
        self.generated.append((passage, made := self.middle.generate(passage, longest, speech)))
        return made


def test_trained_ranked_and_generated_agree(kind: str, tiny: Tiny) -> None:
    model = backbone(tiny(kind), max_new_tokens=1)
    spy = Spy(model)
    end = model._words.end
    for example in many():
        batch = model.collate([example])
        with torch.no_grad():
            loss, learned = float(model.loss(batch)), model._passage(batch.tokens, batch.mask, batch.images, ())
        model.answer([example])
        model.answer([replace(example, choices=())])
        passage, rows, _ = spy.ranked.pop()
        gone_on, _ = spy.generated.pop()
        # Ids: those of the whole text, as Transformers' own processor makes them.
        given = whole.inputs(kind, tiny(kind), example, example.answer)["input_ids"][0].tolist()
        ids = list(rows[example.choices.index(example.answer)][1])
        assert batch.tokens[0].tolist() == given
        prompt = given[: len(given) - len(ids)]
        assert given == [*prompt, *ids]
        assert model._prompt(example) == prompt
        assert batch.target.wanted[0].tolist() == [*ids, end]
        for asked in (passage, gone_on):
            assert torch.equal(asked.mask[0], torch.ones(len(prompt), dtype=torch.bool))
            torch.testing.assert_close(asked.base[0], learned.base[0, : len(prompt)], rtol=1e-5, atol=1e-5)
        # Scores: minus the loss times what it is the mean of.
        likely = spy.scores[-len(CHOICES) :][example.choices.index(example.answer)]
        assert likely == pytest.approx(-loss * (len(ids) + 1), rel=1e-4, abs=1e-4)


def test_the_first_token_is_the_likeliest_of_the_whole_model(kind: str, tiny: Tiny) -> None:
    model = backbone(tiny(kind), max_new_tokens=1)
    spy = Spy(model)
    for example in many():
        model.answer([replace(example, choices=())])
        ((_, (made,)),) = spy.generated
        spy.generated.clear()
        likeliest = int(whole.logits(kind, tiny(kind), example)[-1].argmax())
        assert made == ([] if likeliest == model._words.end else [likeliest])


def test_neighbours_change_nothing(kind: str, tiny: Tiny) -> None:
    model = backbone(tiny(kind))
    spy = Spy(model)
    with torch.no_grad():
        alone = torch.cat([model.loss(model.collate([example])) for example in many()])
        torch.testing.assert_close(model.loss(model.collate(many())), alone, rtol=1e-5, atol=1e-5)
    order = sorted(range(len(PROMPTS)), key=lambda i: (len(model._prompt(many()[i])), i))
    for index in order:
        model.answer([many()[index]])
    apart = torch.tensor(spy.scores)
    spy.scores.clear()
    model.answer(many())
    torch.testing.assert_close(torch.tensor(spy.scores), apart, rtol=1e-5, atol=1e-4)


def test_the_tokenizers_own_sides_are_of_no_account(kind: str, tiny: Tiny) -> None:
    model, turned = backbone(tiny(kind)), backbone(tiny(kind))
    words = turned._processor.tokenizer
    words.padding_side, words.truncation_side, words.model_max_length = "left", "left", 4
    with torch.no_grad():
        expected, found = (each.loss(each.collate(many())) for each in (model, turned))
    assert torch.equal(found, expected)
    assert turned.answer(many()) == model.answer(many())


def test_a_control_token_in_a_text_is_text(kind: str, tiny: Tiny) -> None:
    model = backbone(tiny(kind))
    image = model._words._image
    words = AutoTokenizer.from_pretrained(tiny(kind))
    marks = {"</s>", "<s>", "<pad>", image} - {"<image>"}
    example = many()[0]
    plain = model._prompt(example)
    for mark in sorted(marks):
        written = replace(example, prompt=f"{example.prompt} {mark} ?", choices=("yes", f"yes {mark}"), answer="yes")
        model.check([written], True)
        ids = model._prompt(written)
        assert ids.count(model._words.image_id) == plain.count(model._words.image_id)
        controls = {words.convert_tokens_to_ids(other) for other in ("</s>", "<s>", "<pad>")}
        assert not controls & set(ids[len(plain) :])
        assert model._words.answer(written, "yes") != model._words.answer(written, f"yes {mark}")
