"""Stage 3 of nano-vlm: to compare what a picture shows with what somebody says of it.

An answer of yes or no is one bit, and a small model learns to compare nothing from single bits. So the stage begins
with answers that tell more, and goes on to single bits from there:

    colour     "cat" red "key" no "bus" blue ...    the colour of what is named, if it is there
    told       "I can see keys." red "No day without cats." no ...
    asked      "I can see keys." Question: Which colour? Answer: red ...
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
from fedloom.pretrain.lists import Items
from fedloom.tasks._common import asked, offered
from fedloom.tasks._icons.deal import INKS, one, scatter, some, somewhere
from fedloom.tasks._icons.packs import PUBLIC
from fedloom.tasks._icons.scene import draw
from fedloom.tasks._icons.words import nouns, one_of, plural, spoken

VERDICTS = (("yes", "no"), ("true", "false"), ("right", "wrong"), ("agree", "differ"), ("same", "other"))
"""Words for a claim that holds and for one that does not; the first pair is the most frequent."""

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

WHICH = "Which colour?"
"""The question for a thing's colour."""

COLOURS = ("colour", "told", "asked")
"""The lists that ask for colours. Those of sentences say so at their beginning, as others of sentences do not."""

LISTS = (*COLOURS, "said", "judged")
"""The lessons with several claims."""

COURSE: tuple[tuple[float, dict[str, float]], ...] = (
    (0.26, {"colour": 1.0}),
    (0.18, {"colour": 0.3, "told": 0.7}),
    (0.22, {"told": 0.1, "asked": 0.3, "said": 0.25, "judged": 0.35}),
    (
        0.34,
        {
            **{"asked": 0.05, "said": 0.1, "judged": 0.15, "sentence": 0.3},
            **{"caption": 0.1, "choose_txt": 0.18, "fill_in_blank": 0.1, "choose_img": 0.02},
        },
    ),
)
"""Parts of the stage, each with a schedule of its own: its share of the examples, and the share of its batches that
each lesson has. Lessons of stage 2 stand in the last, so that nothing is forgotten."""


@dataclass(frozen=True)
class ClaimsRecipe:
    """Schedule of stage 3: of every part of its course."""

    examples: int = 150_000
    batch: int = 64
    lr: float = 2e-3


def listed(rng: np.random.Generator, sort: str) -> tuple[Example, Items]:
    """A picture of a public pack and a list of claims about it, each with its verdict.

    There are as many claims as things, and each holds with probability 1/2.
    """
    pack = one(rng, tuple(PUBLIC))
    things = (4, 2, 1)[rng.choice(3, p=[0.6, 0.3, 0.1])]
    inks = [(thing, one(rng, INKS)) for thing in some(rng, nouns(pack), 2 * things)]
    shown, others = inks[:things], inks[things:]
    asks = WHICH if sort in ("told", "asked") else ""
    example = Example(sort, (draw(scatter(rng, pack, shown)),), f"{IMAGE}\n{asks}", (), "")
    items: Items = []
    for _ in range(things):
        holds = rng.random() < 0.5
        thing, colour = (shown if holds else others).pop()
        claim, pair = _claim(rng, sort, thing)
        items.append((claim, colour if sort in COLOURS and holds else pair[not holds]))
    return example, items


def _claim(rng: np.random.Generator, sort: str, thing: str) -> tuple[str, tuple[str, str]]:
    """What is claimed, up to where a verdict is asked for, and the verdicts: that it holds, that it does not."""
    if sort == "colour":
        return f'"{spoken(thing)}"', VERDICTS[0]
    said = f'"{one(rng, SENTENCES).format(one=one_of(thing), many=plural(thing))}"'
    if sort in ("told", "said"):
        return said, VERDICTS[0]
    if sort == "asked":
        return f"{said} {asked(WHICH)} Answer:", VERDICTS[0]
    pair = VERDICTS[0] if rng.random() < 0.5 else one(rng, VERDICTS)
    choices = pair if rng.random() < 0.5 else pair[::-1]
    return " ".join(filter(None, (said, asked(one(rng, QUESTIONS)), offered(choices), "Answer:"))), pair


def sentence(rng: np.random.Generator, packs: Sequence[str] = tuple(PUBLIC)) -> Example:
    """One claim about a picture of one of the packs, as tasks ask; the stage is measured by it as well."""
    pack = one(rng, packs)
    shown, other = some(rng, nouns(pack), 2)
    holds = bool(rng.random() < 0.5)
    claim, pair = _claim(rng, "sentence", shown if holds else other)
    picture = draw(somewhere(rng, pack, shown, 0.6, 0.97))
    return Example("sentence", (picture,), f"{IMAGE}\n{claim}", pair, pair[not holds])
