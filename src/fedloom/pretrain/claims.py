"""Stage 3 of nano-vlm: to compare what a picture shows with what somebody says of it.

An answer of yes or no is one bit, and a small model learns to compare nothing from single bits. So the stage begins with
answers that tell more, and goes on to single bits from there:

    colour     "cat" red "key" no "bus" blue ...    the colour of what is there
    thing      "cat" yes "key" no "bus" yes ...
    said       "I can see keys." yes "No day without cats." no ...
    judged     "I can see keys." Question: Is it so? Choices: right, wrong. Answer: right ...
    sentence   the same with one claim alone about one thing, as tasks ask

To tell a thing's colour its patches must be found by its name, and who finds them can say as well that there are none.
All but ``sentence`` judge a list of claims about one picture, each right after it is made, so that every claim has an
answer to learn from. Each claim of a list holds or not by a coin of its own, and none is of a thing claimed before:
whatever a list says before a claim tells nothing of it, and a model that could guess by it would not look.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedloom.core.contracts import IMAGE, Example
from fedloom.core.passage import IGNORE
from fedloom.models.language.sequences import Words
from fedloom.tasks._common import asked, offered
from fedloom.tasks._icons.deal import INKS, one, scatter, some, somewhere
from fedloom.tasks._icons.packs import PUBLIC
from fedloom.tasks._icons.scene import draw
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

LISTS = ("colour", "thing", "said", "judged")
"""The lessons with several claims."""

FIRST = {"colour": 1.0}
"""Share of the batches with each lesson in the first part of the stage."""

THEN = {
    **{"colour": 0.1, "thing": 0.1, "said": 0.15, "judged": 0.15, "sentence": 0.2},
    **{"caption": 0.08, "choose_txt": 0.14, "fill_in_blank": 0.06, "choose_img": 0.02},
}
"""Share of the batches after it; those of stage 2 stand among them, so that nothing is forgotten."""


@dataclass(frozen=True)
class ClaimsRecipe:
    """Schedule of stage 3; ``first``: the share of its examples that is ``FIRST``."""

    examples: int = 160_000
    batch: int = 64
    lr: float = 2e-3
    first: float = 0.25


def listed(rng: np.random.Generator, words: Words, sort: str, patches: int) -> tuple[Example, list[int], list[int]]:
    """A lesson with several claims about one picture: the example that has the picture, the lesson's tokens, and its
    targets: the verdicts, no claim.

    ``patches``: image tokens of a picture. There are as many claims as things, and each holds with probability 1/2.
    """
    pack = one(rng, tuple(PUBLIC))
    things = (4, 2, 1)[rng.choice(3, p=[0.6, 0.3, 0.1])]
    inks = [(thing, one(rng, INKS)) for thing in some(rng, nouns(pack), 2 * things)]
    shown, others = inks[:things], inks[things:]
    example = Example(sort, (draw(scatter(rng, pack, shown)),), f"{IMAGE}\n", (), "")
    tokens = list(words.prompt(example, [IMAGE * patches]))
    wanted = [IGNORE] * len(tokens)
    for _ in range(things):
        holds = rng.random() < 0.5
        thing, colour = (shown if holds else others).pop()
        claim, pair = _claim(rng, sort, thing)
        read = words.answer(Example(sort, (), '"', (), ""), claim)
        learnt = words.answer(Example(sort, (), claim, (), ""), _verdict(sort, pair, holds, colour))
        tokens += [*read, *learnt]
        wanted += [*[IGNORE] * len(read), *learnt]
    return example, tokens, wanted


def _claim(rng: np.random.Generator, sort: str, thing: str) -> tuple[str, tuple[str, str]]:
    """What is claimed, up to where a verdict is asked for, and the verdicts: that it holds, that it does not."""
    if sort in ("colour", "thing"):
        return f'"{spoken(thing)}"', VERDICTS[0]
    said = f'"{one(rng, SENTENCES).format(one=one_of(thing), many=plural(thing))}"'
    if sort == "said":
        return said, VERDICTS[0]
    pair = one(rng, VERDICTS)
    choices = pair if rng.random() < 0.5 else pair[::-1]
    return " ".join(filter(None, (said, asked(one(rng, QUESTIONS)), offered(choices), "Answer:"))), pair


def _verdict(sort: str, pair: tuple[str, str], holds: bool, colour: str) -> str:
    return colour if sort == "colour" and holds else pair[not holds]


def sentence(rng: np.random.Generator, packs: Sequence[str] = tuple(PUBLIC)) -> Example:
    """One claim about a picture of one of the packs, as tasks ask; the stage is measured by it as well."""
    pack = one(rng, packs)
    shown, other = some(rng, nouns(pack), 2)
    holds = bool(rng.random() < 0.5)
    claim, pair = _claim(rng, "sentence", shown if holds else other)
    picture = draw(somewhere(rng, pack, shown, 0.6, 0.97))
    return Example("sentence", (picture,), f"{IMAGE}\n{claim}", pair, pair[not holds])
