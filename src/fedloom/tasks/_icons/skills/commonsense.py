"""Common sense: which of some things a fact is true of."""

from functools import cache

import numpy as np

from fedloom.tasks._icons.deal import INKS, alone, number, one, scatter, some
from fedloom.tasks._icons.facts import FACTS
from fedloom.tasks._icons.question import Pictures, Wordings, Words, maker
from fedloom.tasks._icons.words import nouns, spoken

WHICH: Wordings = (
    "Which of these {}?",
    "Which thing in the picture {}?",
    "Only one of these {}. What is it?",
)
ALSO: Wordings = (
    "This {fact}. Which of these {fact} too?",
    "Which other thing {fact}?",
    "Find one more thing of which this is true: it {fact}.",
)


@cache
def _known(pack: str) -> tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...]:
    """(phrase, things it is true of, things it is not) for the facts that a pack can show."""
    facts = []
    for fact in FACTS:
        true = tuple(thing for thing in nouns(pack) if thing in fact.true)
        false = tuple(thing for thing in nouns(pack) if thing not in fact.true | fact.unsure)
        if true and len(false) >= 3:
            facts.append((fact.phrase, true, false))
    return tuple(facts)


def _words(rng: np.random.Generator, pack: str, wording: int) -> Words:
    phrase, true, false = one(rng, _known(pack))
    right, wrong = one(rng, true), some(rng, false, number(rng, 2, 3))
    inks = list(zip((right, *wrong), some(rng, INKS, 4), strict=False))
    return Words(scatter(rng, pack, inks), WHICH[wording].format(phrase), spoken(right), [spoken(t) for t in wrong])


def _pictures(rng: np.random.Generator, pack: str, wording: int) -> Pictures:
    # Of a pack too small for two things of one fact, the same thing stands there again in another colour.
    facts = [fact for fact in _known(pack) if len(fact[1]) >= 2] or _known(pack)
    phrase, true, false = one(rng, facts)
    given, right = (some(rng, true, 2) * 2)[:2]
    shown = zip((given, right, *some(rng, false, 3)), some(rng, INKS, 5), strict=True)
    scene, answer, *wrong = (alone(pack, thing, colour) for thing, colour in shown)
    return Pictures(scene, ALSO[wording].format(fact=phrase), answer, wrong)


make = maker("commonsense", _words, _pictures)
