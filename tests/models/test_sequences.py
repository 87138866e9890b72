"""Prompt and answer are tokenised apart, and make together what the tokenizer makes of the whole text."""

from dataclasses import replace
from typing import Any

import pytest

from fedloom.core.contracts import Example
from fedloom.core.errors import FedloomError
from fedloom.models.language.sequences import Words
from tests.models.backbones import examples
from tests.models.tokenizers import KINDS, fast

PROMPTS = (
    "<image>\nWhich animal is this? Answer:",
    "Which <image> animal is this?",
    "Which animal is this? <image>",
    "Which animal is this?<image>",
    "<image><image> two and one: answer",
    "<image>answer",
    "what colour is the cat ?" * 20,
    "<image>",
)
ANSWERS = ("A", "yes", "a cat", "yes</s>", "<image>", "\u00e9")


def of(prompt: str, answer: str = "A", choices: tuple[str, ...] = ()) -> Example:
    example = examples(1)[0]
    pictures = example.images * prompt.count("<image>")
    return replace(example, images=pictures, prompt=prompt, answer=answer, choices=choices)


@pytest.mark.parametrize("kind", [*KINDS, "words"])
@pytest.mark.parametrize("ends", [(True, False), (False, True), (True, True)])
def test_prompt_and_answer_make_the_whole_text(kind: str, ends: tuple[bool, bool]) -> None:
    words = fast(kind, *ends)
    made = Words(words, "<image>", 2000)
    before = [words.bos_token_id] if ends[0] else []
    for prompt in PROMPTS:
        example = of(prompt)
        shown = ["<image>" * 3] * prompt.count("<image>")
        for answer in ANSWERS[:3]:
            whole = words(prompt.replace("<image>", "<image>" * 3) + f" {answer}", add_special_tokens=False)
            assert [*made.prompt(example, shown), *made.answer(example, answer)] == [*before, *whole["input_ids"]]
        every = [tuple(made.answer(example, answer)) for answer in ANSWERS]
        assert not {made.end, made.image_id} & {number for ids in every for number in ids}
        assert kind == "words" or len({*every[:5]}) == 5


def test_what_the_model_says_is_what_it_was_taught() -> None:
    for kind in ("bytes", "bytes-prefix", "metaspace-first"):
        made = Words(fast(kind), "<image>", 2000)
        for answer in ("yes", "a cat", "yes</s>", "<image> [INST]"):
            assert made.text(made.answer(of(PROMPTS[0]), answer)) == answer


def test_pictures_in_front_stand_before_the_beginning() -> None:
    words = fast("bytes")
    made = Words(words, "<image>", 2000, front=True)
    for prompt in ("Which <image> animal?", "<image>\nWhich animal?", "Which animal? <image>"):
        text = "Which animal?"
        whole = words(text + " a cat")["input_ids"]
        found = [*made.prompt(of(prompt), ["<image>" * 2]), *made.answer(of(prompt), "a cat")]
        assert found == [made.image_id, made.image_id, *whole]


def broken(**changes: Any) -> Any:
    words = fast("bytes")
    for name, value in changes.items():
        setattr(words, name, value)
    return words


def test_a_tokenizer_that_lacks_a_token_is_refused() -> None:
    with pytest.raises(FedloomError, match=r"its tokenizer has no eos_token"):
        Words(broken(eos_token=None), "<image>", 100)
    for image in ("<picture>", ""):
        with pytest.raises(FedloomError, match=rf"its tokenizer has no token '{image}', whose places pictures take"):
            Words(fast("words"), image, 100)
    assert Words(broken(pad_token=None), "<image>", 100).prompt(of("this ?"), [])
    with pytest.raises(FedloomError, match=r"token '<image>': the tokenizer makes id \d+ of it, but the model has"):
        Words(fast("bytes"), "<image>", 100, rows=300)
    small = Words(tokenizer := fast("words"), "<image>", 100, rows=10)
    with pytest.raises(FedloomError, match=r"example 'e0': the tokenizer makes id \d+ of it, .* embeddings of 10"):
        small.prompt(of("a photo of the cat"), [])
    assert len(tokenizer) > 10


def test_choices_that_are_the_same_to_the_model_are_refused() -> None:
    made = Words(fast("wordpiece"), "<image>", 100)
    for same in (("yes", "Yes"), ("yes", " yes"), ("yes", "no", "yes"), ("\u00e9", "e\u0301")):
        with pytest.raises(FedloomError, match=r"example 'e0': its choices .* are the same to the model"):
            made.check(of("this ?", same[0], same), [], False, 4)
    cased = Words(fast("bytes"), "<image>", 100)
    for apart in (("A", "a"), ("yes", "yes</s>"), ("red", "red dog"), ("", "no"), ("yes", " yes")):
        cased.check(of("this ?", apart[0], apart), [], False, 4)
    with pytest.raises(FedloomError, match=r"example 'e0': the answer 'cow' is none of its choices \('cat', 'dog'\)"):
        cased.check(of("this ?", "cow", ("cat", "dog")), [], True, 4)


def test_what_does_not_fit_is_told_by_its_length() -> None:
    """The prompt takes 4 tokens and its picture 3; an answer's last token is read, a generated one's is not."""
    words = Words(fast("words"), "<image>", 10)
    example = of("<image> is this ?", "two and one", ("two and one", "no"))
    words.check(example, ["<image>" * 3], True, 9)
    words.check(example, ["<image>" * 3], False, 9)
    words.check(replace(example, choices=(), answer="no"), ["<image>" * 3], False, 4)
    longer = replace(example, answer="two and one cat", choices=("two and one cat", "no"))
    told = r"'e0': the prompt has 7 tokens and {} 4 more that are read, together 11; the model reads 10"
    with pytest.raises(FedloomError, match=told.format("its answer 'two and one cat'")):
        words.check(longer, ["<image>" * 3], True, 9)
    with pytest.raises(FedloomError, match=told.format("its longest choice")):
        words.check(replace(longer, answer="no"), ["<image>" * 3], False, 9)
    with pytest.raises(FedloomError, match=told.format("an answer of model.max_new_tokens = 5")):
        words.check(replace(example, choices=()), ["<image>" * 3], False, 5)
