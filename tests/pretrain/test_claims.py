"""Lessons on claims about a picture: half of them hold, and only verdicts are learnt."""

import re

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, LlavaForConditionalGeneration

from fedloom.core.contracts import IMAGE, Example
from fedloom.core.passage import IGNORE
from fedloom.core.seeds import Seeds
from fedloom.models import NANO
from fedloom.models.language.sequences import Words
from fedloom.pretrain import claims, lists
from fedloom.pretrain.tokens import LENGTH, train_tokenizer
from fedloom.pretrain.vlm import LESSONS, Lessons, likeliest
from fedloom.tasks._icons.deal import INKS
from fedloom.tasks._icons.packs import PRIVATE, PUBLIC
from fedloom.tasks._icons.scene import Scene, draw
from fedloom.tasks._icons.words import spoken
from fedloom.tasks.icons_memes import CAPTIONS, CHOICES, QUESTION


@pytest.fixture(scope="module")
def words() -> Words:
    return Words(train_tokenizer(Seeds(0)), IMAGE, LENGTH)


def spelled(rng: np.random.Generator, words: Words, sort: str) -> tuple[Example, list[int], list[int]]:
    example, items = claims.listed(rng, sort)
    return example, *lists.spell(words, example, items, 16)


def read(words: Words, ids: list[int]) -> str:
    return str(words._tokenizer.decode([number for number in ids if number != words.image_id]))


@pytest.mark.parametrize("sort", claims.LISTS)
def test_only_verdicts_are_learnt_and_about_half_hold(words: Words, sort: str) -> None:
    rng = np.random.default_rng(0)
    holding = number = 0
    for _ in range(60):
        example, tokens, wanted = spelled(rng, words, sort)
        assert len(example.images) == 1
        assert tokens.count(words.image_id) == 16
        assert len(tokens) == len(wanted)
        assert all(target in (IGNORE, token) for token, target in zip(tokens, wanted, strict=True))
        learnt = read(words, [target for target in wanted if target != IGNORE]).split()
        pairs = {word: pair[0] == word for pair in claims.VERDICTS for word in pair} | dict.fromkeys(INKS, True)
        verdicts = [pairs[word] for word in learnt if word in pairs]
        assert len(verdicts) in (1, 2, 4)
        holding, number = holding + sum(verdicts), number + len(verdicts)
    assert holding / number == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(number))


def test_a_list_tells_the_colours_of_what_is_drawn_and_claims_no_thing_twice(
    words: Words, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes: list[Scene] = []
    monkeypatch.setattr(claims, "draw", lambda scene: scenes.append(scene) or draw(scene))
    rng = np.random.default_rng(1)
    for _ in range(30):
        _, tokens, _ = spelled(rng, words, "colour")
        found = re.findall(r'"([^"]+)" (\w+)', read(words, tokens))
        assert len({claim for claim, _ in found}) == len(found) == len(scenes[-1].items)
        shown = {spoken(item.thing): item.colour for item in scenes[-1].items}
        assert all(shown.get(claim, "no") == verdict for claim, verdict in found)


def test_what_a_list_says_before_a_claim_tells_nothing_of_it(words: Words) -> None:
    """However many of the first three claims held, the fourth holds in half of the lists: with exactly half of the
    claims of every list holding, a model learnt to count them and did not look."""
    rng = np.random.default_rng(3)
    fourth: dict[int, list[bool]] = {}
    while sum(map(len, fourth.values())) < 1200:
        _, tokens, _ = spelled(rng, words, "said")
        held = [verdict == "yes" for verdict in re.findall(r'" (yes|no)', read(words, tokens))]
        if len(held) == 4:
            fourth.setdefault(sum(held[:3]), []).append(held[3])
    assert set(fourth) == {0, 1, 2, 3}
    for verdicts in fourth.values():
        assert np.mean(verdicts) == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(len(verdicts)))


def test_a_sentence_is_worded_as_tasks_word_and_told_by_its_picture() -> None:
    rng = np.random.default_rng(2)
    drawn = [claims.sentence(rng) for _ in range(200)]
    assert all(re.fullmatch(r'<image>\n".+" Question: .+\? Choices: \w+, \w+\. Answer:', one.prompt) for one in drawn)
    assert all(one.answer in one.choices for one in drawn)
    share = sum(one.answer == one.choices[0] for one in drawn) / 200
    assert share == pytest.approx(0.5, abs=0.15)


def test_what_clients_must_learn_is_not_taught() -> None:
    assert not {choice for pair in claims.VERDICTS for choice in pair} & set(CHOICES)
    assert QUESTION not in claims.QUESTIONS
    assert not set(claims.SENTENCES) & set(CAPTIONS)
    assert not set(PUBLIC) & set(PRIVATE)


def test_shares_are_whole_and_lists_have_no_end(words: Words) -> None:
    assert sum(share for share, _ in claims.COURSE) == pytest.approx(1)
    for _, shares in claims.COURSE:
        assert sum(shares.values()) == pytest.approx(1)
        assert set(shares) <= {*claims.LISTS, "sentence", *LESSONS}
    for sort, ends in (("said", 0), ("sentence", 8)):
        stream = iter(Lessons(words, Seeds(0), "test", 8, {sort: 1.0}))
        assert int((next(stream)[3] == words.end).sum()) == ends


def test_the_shipped_model_compares_private_pictures_with_words() -> None:
    """200 single claims about packs that pre-training never saw: more than three standard errors above chance."""
    model = LlavaForConditionalGeneration.from_pretrained(NANO["nano-vlm"], dtype=torch.float32).eval()
    told = Words(AutoTokenizer.from_pretrained(NANO["nano-vlm"]), IMAGE, LENGTH)
    rng = np.random.default_rng(5)
    asked = [claims.sentence(rng, tuple(PRIVATE)) for _ in range(200)]
    with torch.no_grad():
        right = sum(likeliest(model, told, one) == one.answer for one in asked)
    assert right / 200 > 0.5 + 3 * 0.5 / np.sqrt(200)
