"""Reports to a town's offices: a scene and a sentence, each of which may tell which office a report is for."""

from dataclasses import dataclass

import numpy as np

from fedloom.tasks._icons.deal import INKS, one, scatter, some
from fedloom.tasks._icons.scene import Scene
from fedloom.tasks._icons.words import NOUNS, nouns

OFFICES: dict[str, tuple[frozenset[str], tuple[str, ...]]] = {
    office: (frozenset(things.split()), tuple(words.split(", ")))
    for office, things, words in (
        (
            "sun",
            "cloud moon rainbow raindrop snowflake sun tornado umbrella",
            "rain, snow, the storm, fog",
        ),
        ("car", "airplane bicycle boat bus car caravan rocket train truck", "the road, a crash, parking, a detour"),
        (
            "phone",
            "keyboard laptop phone plug printer radar robot router webcam",
            "a login, the screen, an email, wifi",
        ),
        (
            "heart",
            "brain heart hospital microscope skull test-tube thermometer virus wheelchair",
            "a fever, the doctor, a cough, the nurse",
        ),
        ("bank", "bank briefcase credit-card piggy-bank receipt ticket wallet", "my bill, the tax, a loan, the rent"),
        (
            "book",
            "book bookmark calculator eraser globe graduation-cap notebook pencil ruler",
            "an exam, the pupils, homework, my class",
        ),
    )
}
"""Office -> the things that stand for it in a picture, and the words that stand for it in a sentence.

Each has the name of one of its things (sun: weather, car: traffic, phone: computers, heart: health, bank: money, book:
school): words that nano-vlm's tokenizer has as one piece, so that an answer is one token."""

VAGUE = ("this", "that", "it", "something")
"""What a sentence is about that tells no office."""

SENTENCES = ("It is about {}.", "Look at {} here.", "There is more about {}.", "You should know about {}.")

TELLS = {"image": 0.37, "text": 0.37, "both": 0.23, "neither": 0.03}
"""Which of its two parts tells a report's office, and how often."""

THINGS = 3
"""Things in a picture."""

PACKS = ("boxicons", "boxicons-solid", "lucide", "phosphor", "phosphor-fill", "remix", "remix-fill")
"""The private packs that draw enough things of every office."""


@dataclass(frozen=True)
class Report:
    """What a report is made of; ``tells`` is a key of ``TELLS``."""

    scene: Scene
    text: str
    office: str
    tells: str


def report(rng: np.random.Generator, pack: str, office: str) -> Report:
    """Draw a report for an office. A part that does not tell is drawn from what belongs to no office."""
    tells = tuple(TELLS)[rng.choice(len(TELLS), p=list(TELLS.values()))]
    things, words = OFFICES[office]
    shown = [thing for thing in nouns(pack) if thing in (things if tells in ("image", "both") else _nobodys())]
    said = words if tells in ("text", "both") else VAGUE
    inks = zip(some(rng, shown, THINGS), some(rng, INKS, THINGS), strict=True)
    return Report(scatter(rng, pack, list(inks)), one(rng, SENTENCES).format(one(rng, said)), office, tells)


def offices_of(scene: Scene) -> set[str]:
    """The offices that a picture's things stand for, read from its description."""
    return {office for office, (things, _) in OFFICES.items() if any(item.thing in things for item in scene.items)}


def offices_in(text: str) -> set[str]:
    """The offices that a sentence's words stand for."""
    return {office for office, (_, words) in OFFICES.items() if any(word in text for word in words)}


def _nobodys() -> frozenset[str]:
    return NOUNS - frozenset().union(*(things for things, _ in OFFICES.values()))
