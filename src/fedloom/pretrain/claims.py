"""Lessons on whether a picture shows what somebody says: what stage 3 of nano-vlm adds to those of stage 2.

An answer of yes or no is one bit, from which a small model learns to compare nothing at all. So most of these lessons
judge a whole list of claims about one picture, each right after it is made:

    <image>\\n"a cat" no "keys" yes "a red bus" no ...

and the others one sentence that calls for a thing, in many words, before the question is asked.
"""

from collections.abc import Iterator

import numpy as np

from fedloom.core.contracts import Example
from fedloom.tasks._common import asked, offered, prompt
from fedloom.tasks._icons.deal import INKS, one, some
from fedloom.tasks._icons.packs import PUBLIC
from fedloom.tasks._icons.scene import Item, Scene, draw
from fedloom.tasks._icons.words import nouns, one_of, plural, spoken

LISTED = 10
"""Claims in a list."""

VERDICTS = (("yes", "no"), ("true", "false"), ("right", "wrong"), ("agree", "differ"), ("same", "other"))
"""Words for a claim that holds and for one that does not."""

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


def single(rng: np.random.Generator, pack: str, thing: str) -> Scene:
    """One thing that nearly fills the picture, somewhere."""
    size = float(rng.uniform(0.6, 0.97))
    x, y = 0.5 + rng.uniform(-1, 1, size=2) * (1 - size) / 2
    return Scene(items=(Item(thing, pack, one(rng, INKS), float(x), float(y), size),))


def listed(rng: np.random.Generator, scene: Scene, pack: str) -> Iterator[tuple[str, bool]]:
    """``LISTED`` claims about a scene and whether they hold: about half do, of things and of things in colours."""
    shown = {item.thing: item.colour for item in scene.items}
    for thing in some(rng, nouns(pack), LISTED):
        if shown and rng.random() < 0.45:
            thing = one(rng, tuple(shown))
        if rng.random() < 0.25:
            colour = shown.get(thing, "") if rng.random() < 0.6 else ""
            colour = colour or one(rng, INKS)
            yield f"{colour} {spoken(thing)}", any((i.thing, i.colour) == (thing, colour) for i in scene.items)
        else:
            yield (one_of, plural, spoken)[rng.integers(3)](thing), thing in shown


def sentence(rng: np.random.Generator) -> Example:
    """One sentence with a picture that shows what it calls for, or, as often, something else."""
    pack = one(rng, tuple(PUBLIC))
    called, other = some(rng, nouns(pack), 2)
    holds = bool(rng.random() < 0.5)
    pair = one(rng, VERDICTS)
    said = one(rng, SENTENCES).format(one=one_of(called), many=plural(called))
    choices = pair if rng.random() < 0.5 else pair[::-1]
    text = prompt(1, f'"{said}"', asked(one(rng, QUESTIONS)), offered(choices))
    return Example("sentence", (draw(single(rng, pack, called if holds else other)),), text, choices, pair[not holds])
