"""Stage 4 of nano-vlm: what stands where, and of which there are more.

Both are asked in stage 2 and hardly learnt there: a choice among two is one bit. So this stage asks for the parts
first, in lists about one picture (``lists``), and for the whole from there:

    corner     top left key bottom right cat ...                        four different things, two by two
    beside     above the key: cat to the left of the red bus: apple ...
    placed     Question: What is above the key? Choices: cat, bus, apple. Answer: cat ...

    counts     "keys" 3 "cats" 1 "buses" 0 ...                           two or four kinds of things, nine at most
    than       "keys" than "cats": 2 more ...
    compared   Question: Are there more keys or cats? Choices: keys, cats. Answer: keys ...
    few        the same two kinds, four things at most, asked for in four ways
    comparing  one question, as tasks ask

But for ``few``, no place and no kind of things is asked for twice in a list, so that no answer stands in the text
before it is asked for.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from fedloom.core.contracts import IMAGE, Example
from fedloom.pretrain.lists import Items
from fedloom.tasks._common import asked, offered
from fedloom.tasks._icons.deal import INKS, Ink, grid, one, scatter, some
from fedloom.tasks._icons.packs import PUBLIC
from fedloom.tasks._icons.question import WORDINGS
from fedloom.tasks._icons.scene import Scene, draw
from fedloom.tasks._icons.skills import comparing, spatial
from fedloom.tasks._icons.words import nouns, plural, spoken

BEFORE: dict[str, float] = {
    **{"said": 0.04, "judged": 0.08, "sentence": 0.12, "caption": 0.04},
    **{"choose_txt": 0.12, "fill_in_blank": 0.05, "choose_img": 0.02},
}
"""Shares of lessons of the stages before."""

COURSE: tuple[tuple[float, dict[str, float]], ...] = (
    (
        0.2333,
        {
            **{"corner": 0.08, "beside": 0.12, "placed": 0.1, "counts": 0.15, "than": 0.15, "compared": 0.1},
            **{"said": 0.03, "judged": 0.05, "sentence": 0.08},
            **{"caption": 0.04, "choose_txt": 0.07, "fill_in_blank": 0.03},
        },
    ),
    (
        0.2333,
        {
            **{"placed": 0.12, "counts": 0.06, "than": 0.12, "compared": 0.3},
            **{"said": 0.04, "judged": 0.06, "sentence": 0.1},
            **{"caption": 0.04, "choose_txt": 0.11, "fill_in_blank": 0.05},
        },
    ),
    (
        0.2,
        {
            **{"placed": 0.06, "than": 0.05, "compared": 0.2},
            **{"asked": 0.02, "said": 0.05, "judged": 0.1, "sentence": 0.18},
            **{"caption": 0.06, "choose_txt": 0.18, "fill_in_blank": 0.08, "choose_img": 0.02},
        },
    ),
    (0.2222, {"few": 0.4, "compared": 0.07, "placed": 0.06, **BEFORE}),
    (0.1112, {"few": 0.12, "compared": 0.11, "comparing": 0.25, "placed": 0.05, **BEFORE}),
)
"""As ``claims.COURSE``: the parts of the stage, and the shares of their batches. Lessons of the stages before are in
all of them: without these a model forgot within 100,000 examples what it knew of claims."""


@dataclass(frozen=True)
class RelationsRecipe:
    """Schedule of stage 4: of every part of its course."""

    examples: int = 225_000
    batch: int = 64
    lr: float = 2e-3


def _corner(rng: np.random.Generator, inks: Sequence[Ink], sort: str) -> Items:
    """The things at all four places."""
    return [(spatial.CORNERS[cell], spoken(inks[cell][0])) for cell in rng.permutation(4)]


def _beside(rng: np.random.Generator, inks: Sequence[Ink], sort: str) -> Items:
    """What stands in each of the four cells, told from a neighbour of it that did not stand there itself before."""
    names = [spoken(thing) for thing, _ in inks]
    items: Items = []
    used: set[frozenset[int]] = set()
    for cell in rng.permutation(4):
        ways = [
            way for way, there in spatial.NEIGHBOURS.items() if there == cell and frozenset((way[1], there)) not in used
        ]
        corner = sort == "placed" and (not ways or rng.random() < 0.4)
        if not ways and not corner:
            continue
        relation, anchor = (spatial.CORNERS[cell], cell) if corner else one(rng, ways)
        used.add(frozenset((anchor, int(cell))))
        colour = f"{inks[anchor][1]} " if rng.random() < 0.5 else ""
        place = relation if corner else (relation, f"{colour}{names[anchor]}")
        if sort == "beside":
            items.append((f"{relation} the {colour}{names[anchor]}:", names[cell]))
            continue
        wording = int(rng.integers(WORDINGS - 1))
        text = spatial.CORNER[wording].format(place) if corner else spatial.BESIDE[wording].format(*place)
        wrong = some(rng, [name for name in names if name != names[cell]], int(rng.integers(2, 4)))
        items.append((_question(rng, text, names[cell], wrong), names[cell]))
    return items


def _question(rng: np.random.Generator, text: str, right: str, wrong: Sequence[str]) -> str:
    """A question as the tasks ask it, with its choices or, one time in three, without."""
    choices = some(rng, [right, *wrong], 1 + len(wrong)) if rng.random() < 0.67 else ()
    return " ".join(part for part in (asked(text), offered(choices), "Answer:") if part)


def _counts(rng: np.random.Generator, kinds: dict[str, int], sort: str) -> Items:
    """How many there are of each kind."""
    return [(f'"{plural(thing)}"', str(kinds[thing])) for thing in some(rng, tuple(kinds), len(kinds))]


def _asked(rng: np.random.Generator, kinds: dict[str, int], pair: Sequence[str], direction: str, which: bool) -> Items:
    """A question about two kinds: of ``which`` there are more (or fewer), or whether there are of the first."""
    first, second = pair
    holds = (kinds[first] > kinds[second]) == (direction == "more")
    names = (plural(first), plural(second))
    right, wrong = (names if which else ("yes", "no"))[:: 1 if holds else -1]
    wordings = (comparing.WHICH if which else comparing.THAN)[direction]
    text = wordings[int(rng.integers(WORDINGS - 1))].format(*names)
    return [(_question(rng, text, right, [wrong]), right)]


def _few(rng: np.random.Generator, kinds: dict[str, int], sort: str) -> Items:
    """One pair of kinds, asked for more and for fewer and in both forms, in random order.

    The answers agree with each other, so that what is learnt besides looking is what the words ask for.
    """
    ways = some(rng, [(direction, which) for direction in ("more", "fewer") for which in (True, False)], 4)
    return [item for way in ways for item in _asked(rng, kinds, some(rng, tuple(kinds), 2), *way)]


def _pairs(rng: np.random.Generator, kinds: dict[str, int], sort: str) -> Items:
    """Each two kinds compared, no kind twice: by how many there are more, or which there are more of."""
    things = some(rng, tuple(kinds), len(kinds))
    items: Items = []
    for first, second in zip(things[::2], things[1::2], strict=False):
        more = kinds[first] - kinds[second]
        if more and sort == "than":
            told = f"{abs(more)} {'more' if more > 0 else 'fewer'}"
            items.append((f'"{plural(first)}" than "{plural(second)}":', told))
        elif more:
            items += _asked(rng, kinds, (first, second), one(rng, ("more", "fewer")), bool(rng.random() < 0.5))
    return items


def _square(rng: np.random.Generator, pack: str) -> tuple[Scene, list[Ink]]:
    inks = list(zip(some(rng, nouns(pack), 4), some(rng, INKS, 4), strict=True))
    return grid(pack, 2, 2, inks), inks


def _kinds(rng: np.random.Generator, pack: str) -> tuple[Scene, dict[str, int]]:
    """Two or four kinds of things, nine at most, of two colours in random cells; at times one kind is absent."""
    number = 2 * int(rng.integers(1, 3))
    counts = [1] * number
    for _ in range(int(rng.integers(0, 10 - number))):
        counts[int(rng.integers(number))] += 1
    if rng.random() < 0.3:
        counts[0] = 0
    things, colours = some(rng, nouns(pack), number), some(rng, INKS, 2)
    inks = [(thing, one(rng, colours)) for thing, count in zip(things, counts, strict=True) for _ in range(count)]
    return scatter(rng, pack, inks), dict(zip(things, counts, strict=True))


def _two(rng: np.random.Generator, pack: str) -> tuple[Scene, dict[str, int]]:
    """Two kinds of things, four at most, of one there are more."""
    fewer = int(rng.integers(2))
    counts = fewer + int(rng.integers(1, 5 - 2 * fewer)), fewer
    things, colours = some(rng, nouns(pack), 2), some(rng, INKS, 2)
    inks = [(thing, one(rng, colours)) for thing, count in zip(things, counts, strict=True) for _ in range(count)]
    return scatter(rng, pack, inks), dict(zip(things, counts, strict=True))


_SQUARES: dict[str, Callable[[np.random.Generator, Sequence[Ink], str], Items]] = {
    "corner": _corner,
    "beside": _beside,
    "placed": _beside,
}
_CROWDS: dict[str, Callable[[np.random.Generator, dict[str, int], str], Items]] = {
    "counts": _counts,
    "than": _pairs,
    "compared": _pairs,
    "few": _few,
}
LISTS = (*_SQUARES, *_CROWDS)
"""The lessons of this stage."""


def listed(rng: np.random.Generator, sort: str) -> tuple[Example, Items]:
    """A picture of a public pack, and a list about it."""
    pack = one(rng, tuple(PUBLIC))
    items: Items = []
    while not items:
        if sort in _SQUARES:
            scene, inks = _square(rng, pack)
            items = _SQUARES[sort](rng, inks, sort)
        else:
            scene, kinds = (_two if sort == "few" else _kinds)(rng, pack)
            items = _CROWDS[sort](rng, kinds, sort)
    return Example(sort, (draw(scene),), f"{IMAGE}\n", (), ""), items
