"""The nano models' tokenizer: byte-level BPE, so that any text can be written, trained on the drawn world's words."""

from collections.abc import Iterator

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from fedloom.core.contracts import IMAGE
from fedloom.core.seeds import Seeds
from fedloom.tasks._icons.packs import PACKS, classes
from fedloom.tasks._icons.question import Kind
from fedloom.tasks._icons.skills import SKILLS, question
from fedloom.tasks._icons.words import spoken

VOCABULARY = 1024
LENGTH = 512
"""Tokens of the longest text a nano model reads."""


def train_tokenizer(seeds: Seeds) -> PreTrainedTokenizerFast:
    """A tokenizer of ``VOCABULARY`` pieces; text begins with ``<s>``, ``</s>`` ends an answer."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    specials = ["<pad>", "<s>", IMAGE, "</s>"]  # CLIP takes an end token with id 2 for a fault of its own past
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_corpus(seeds.numpy("tokens")), trainer)
    return wrap(tokenizer, "<s> $A")


def wrap(tokenizer: Tokenizer, template: str) -> PreTrainedTokenizerFast:
    """The tokenizer for Transformers; ``template`` says what stands around a text: CLIP wants an end as well."""
    ends = [(token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>")]
    tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=ends)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=LENGTH,
        padding_side="right",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        extra_special_tokens={"image_token": IMAGE},
    )


def _corpus(rng: np.random.Generator) -> Iterator[str]:
    """Every class in a caption, and questions of all skills, worded in all ways, with their choices and answers."""
    for name in classes():
        for _ in range(20):
            yield f"a {spoken(name)} icon. {spoken(name)}, {spoken(name)}"
    packs = tuple(PACKS)
    kinds: tuple[Kind, ...] = ("choose_txt", "fill_in_blank", "choose_img")
    for _ in range(6000):
        kind = kinds[rng.integers(3)]
        asked = question(rng, packs, kind, tuple(SKILLS), "all")
        yield f"Question: {asked.text}\nChoices: {', '.join(asked.choices)}.\nAnswer: {asked.answer}"
        yield "Describe the picture. Which of the pictures A, B, C, D, E? true or false, yes or no, nothing; hateful"
