"""How sentences name things."""

import pytest

from fedloom.tasks._icons.facts import FACTS
from fedloom.tasks._icons.packs import classes
from fedloom.tasks._icons.words import NOUNS, one_of, plural


@pytest.mark.parametrize(
    ("thing", "several", "one"),
    [
        ("key", "keys", "a key"),
        ("apple", "apples", "an apple"),
        ("box", "boxes", "a box"),
        ("church", "churches", "a church"),
        ("baby", "babies", "a baby"),
        ("knife", "knives", "a knife"),
        ("map-pin", "map pins", "a map pin"),
        ("scissors", "scissors", "scissors"),
    ],
)
def test_plurals_and_articles(thing: str, several: str, one: str) -> None:
    assert (plural(thing), one_of(thing)) == (several, one)


def test_nouns_are_classes_and_facts_are_about_nouns() -> None:
    assert set(classes()) >= NOUNS
    for fact in FACTS:
        assert fact.true <= NOUNS, fact.phrase
        assert not fact.true & fact.unsure
