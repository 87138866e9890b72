"""Stage 3 of nano-vlm: to compare what a picture shows with what somebody says of it.

An answer of yes or no is one bit, and a small model learns to compare nothing from single bits. So most lessons judge a
dozen claims about one picture, each right after it is made, so that every claim has an answer to learn from:

    thing      "a cat" no "keys" yes ...                      the claims are things
    named      "a cat" no keys "keys" yes keys ...            and behind the verdict stands what the picture shows
    said       "I can see keys." yes "No day without cats." no ...
    judged     "I can see keys." Question: Is it so? Choices: right, wrong. Answer: right ...
    sentence   the same with one claim alone, as tasks ask

Two things come first by themselves, ``thing`` and ``named``: the others are learnt only by whom has learnt these.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedloom.core.contracts import IMAGE, Example
from fedloom.core.passage import IGNORE
from fedloom.models.language.sequences import Words
from fedloom.tasks._common import asked, offered
from fedloom.tasks._icons.deal import INKS, one, some
from fedloom.tasks._icons.packs import PUBLIC
from fedloom.tasks._icons.scene import Item, Scene, draw
from fedloom.tasks._icons.words import nouns, one_of, plural, spoken

VERDICTS = (("yes", "no"), ("true", "false"), ("right", "wrong"), ("agree", "differ"), ("same", "other"))
"""Words for a claim that holds and for one that does not; lists have the first pair."""

SENTENCES = (
    "Look, {one}!",
    "There is {one} over here.",
    "I can see {one}.",
    "This must be {one}, I am sure.",
    "Have you ever met {one} like this?",
    "{many}, as far as the eye can see.",
    "Do you like {many} too?",
    "A story about {many}.",
    "Thank you for {one}.",
    "No day without {many}.",
    "Who would not love {one}?",
    "Please bring me {one} tomorrow.",
    "We have been waiting for {many} so long.",
    "My friend draws {many} very well.",
)
"""Sentences that call for a thing; the memes' captions are others."""

QUESTIONS = (
    "Does the picture fit the words?",
    "Is it so?",
    "Do picture and words go together?",
    "Is this what the picture shows?",
    "What do you say to this?",
)

CLAIMS = {"thing": 12, "named": 12, "said": 6, "judged": 4}
"""The lessons with several claims, and how many each has."""

FIRST = {"thing": 0.5, "named": 0.5}
"""Share of the batches with each lesson in the first part of the stage."""

THEN = {
    **{"thing": 0.12, "named": 0.12, "said": 0.14, "judged": 0.14, "sentence": 0.2},
    **{"caption": 0.08, "choose_txt": 0.13, "fill_in_blank": 0.06, "choose_img": 0.01},
}
"""Share of the batches after it; those of stage 2 stand among them, so that nothing is forgotten."""


@dataclass(frozen=True)
class ClaimsRecipe:
    """Schedule of stage 3; ``first``: the share of its examples that is ``FIRST``."""

    examples: int = 64_000
    batch: int = 64
    lr: float = 2e-3
    first: float = 0.25


def single(rng: np.random.Generator, pack: str, thing: str) -> Scene:
    """One thing that nearly fills the picture, somewhere."""
    size = float(rng.uniform(0.6, 0.97))
    x, y = 0.5 + rng.uniform(-1, 1, size=2) * (1 - size) / 2
    return Scene(items=(Item(thing, pack, one(rng, INKS), float(x), float(y), size),))


def listed(rng: np.random.Generator, words: Words, sort: str, patches: int) -> tuple[Example, list[int], list[int]]:
    """A lesson with several claims about one picture: the example that has the picture, the lesson's tokens, and its
    targets: the verdicts (and names), no claim.

    ``patches``: image tokens of a picture. Half of the claims hold, whatever the lesson.
    """
    pack = one(rng, tuple(PUBLIC))
    shown, *others = some(rng, nouns(pack), 1 + CLAIMS[sort])
    example = Example(sort, (draw(single(rng, pack, shown)),), f"{IMAGE}\n", (), "")
    tokens = list(words.prompt(example, [IMAGE * patches]))
    wanted = [IGNORE] * len(tokens)
    for number in range(CLAIMS[sort]):
        holds = bool(rng.random() < 0.5)
        claim, pair = _claim(rng, sort, shown if holds else others[number % len(others)])
        read = words.answer(Example(sort, (), '"', (), ""), claim)
        learnt = words.answer(Example(sort, (), claim, (), ""), pair[not holds])
        if sort == "named":
            learnt = [*learnt, *words.answer(Example(sort, (), pair[not holds], (), ""), spoken(shown))]
        tokens += [*read, *learnt]
        wanted += [*[IGNORE] * len(read), *learnt]
    return example, tokens, wanted


def _claim(rng: np.random.Generator, sort: str, thing: str) -> tuple[str, tuple[str, str]]:
    """What is claimed, up to where a verdict is asked for, and the verdicts: that it holds, that it does not."""
    if sort in ("thing", "named"):
        return f'"{spoken(thing)}"', VERDICTS[0]
    said = f'"{one(rng, SENTENCES).format(one=one_of(thing), many=plural(thing))}"'
    if sort == "said":
        return said, VERDICTS[0]
    pair = one(rng, VERDICTS)
    choices = pair if rng.random() < 0.5 else pair[::-1]
    return " ".join(filter(None, (said, asked(one(rng, QUESTIONS)), offered(choices), "Answer:"))), pair


def sentence(rng: np.random.Generator, packs: Sequence[str] = tuple(PUBLIC)) -> Example:
    """One claim about a picture of one of the packs, as tasks ask; the stage is measured by it as well."""
    pack = one(rng, packs)
    shown, other = some(rng, nouns(pack), 2)
    holds = bool(rng.random() < 0.5)
    claim, pair = _claim(rng, "sentence", shown if holds else other)
    picture = draw(single(rng, pack, shown))
    return Example("sentence", (picture,), f"{IMAGE}\n{claim}", pair, pair[not holds])
