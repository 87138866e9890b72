"""A program that answers icons-qa questions from the scene's description, the question's text and the choices alone.

It shares nothing with the generators but the scene records and the table of facts: it parses the text by its own
patterns, does its own geometry, and insists that exactly one choice is right.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction

from fedloom.tasks._icons.facts import FACTS
from fedloom.tasks._icons.scene import Figure, Item, Scene

SINGULAR = {"knives": "knife", "leaves": "leaf", "people": "person"}
SIDES = {"triangle": 3, "square": 4, "rectangle": 4, "diamond": 4, "pentagon": 5, "hexagon": 6, "circle": 0}
MINUTES = {"half an hour": 30, "one hour": 60, "two hours": 120}


class Puzzle:
    """What may be read: nothing of how the question was made."""

    def __init__(self, scene: Scene, choices: Sequence[str], choice_scenes: Sequence[Scene]) -> None:
        self.scene, self.choices, self.choice_scenes = scene, choices, choice_scenes

    @property
    def names(self) -> Counter[str]:
        return names(self.scene)

    def count(self, noun: str) -> int:
        return sum(n for name, n in self.names.items() if means(noun, name))

    def picture(self, right: Callable[[Scene], bool]) -> str:
        """The letter of the only picture that is right."""
        return only(letter for letter, scene in zip("ABCDE", self.choice_scenes, strict=False) if right(scene))


def only(found: Iterable[str]) -> str:
    (one,) = found
    return one


def names(scene: Scene) -> Counter[str]:
    return Counter(item.thing.replace("-", " ") for item in scene.items)


def means(noun: str, name: str) -> bool:
    """Whether a noun in a text, singular or plural, perhaps with an article, is this name."""
    noun = re.sub(r"^(an?|the) ", "", noun)
    return name in {
        noun,
        SINGULAR.get(noun, ""),
        re.sub("s$", "", noun),
        re.sub("es$", "", noun),
        re.sub("ies$", "y", noun),
    }


def find(scene: Scene, noun: str) -> Item:
    """The only item that a phrase such as ``red key`` or ``key`` tells of."""
    (item,) = [
        i
        for i in scene.items
        if means(noun, i.thing.replace("-", " ")) or noun == f"{i.colour} {i.thing.replace('-', ' ')}"
    ]
    return item


def beside(scene: Scene, relation: str, noun: str) -> str:
    anchor = find(scene, noun)
    across, down = {"above": (0, -1), "below": (0, 1), "left": (-1, 0), "right": (1, 0)}[relation]
    fits = [
        (abs(i.x - anchor.x) + abs(i.y - anchor.y), i.thing)
        for i in scene.items
        if sign(i.x - anchor.x) == across and sign(i.y - anchor.y) == down
    ]
    return min(fits)[1].replace("-", " ")


def sign(difference: float) -> int:
    return 0 if abs(difference) < 1e-6 else 1 if difference > 0 else -1


def corner(scene: Scene, place: str) -> str:
    down, across = place.split()
    target = (0 if across == "left" else 1, 0 if down == "top" else 1)
    nearest = min(scene.items, key=lambda i: (i.x - target[0]) ** 2 + (i.y - target[1]) ** 2)
    return nearest.thing.replace("-", " ")


def reading_order(scene: Scene) -> list[Item]:
    return sorted(scene.items, key=lambda i: (round(i.y, 3), round(i.x, 3)))


def next_of(signs: list[str]) -> str:
    """What continues a list of eight signs with the shortest period that explains it."""
    period = next(p for p in range(1, 5) if all(signs[i] == signs[i - p] for i in range(p, len(signs))))
    assert period in (2, 3)
    return signs[len(signs) - period]


def figure(scene: Scene, *kinds: str) -> Figure:
    (found,) = [f for f in scene.figures if not kinds or f.kind in kinds]
    return found


def clock(scene: Scene, later: int = 0) -> str:
    hour, minute = figure(scene, "clock").value
    minutes = (hour * 60 + minute + later) % 720
    return f"{minutes // 60 or 12}:{minutes % 60:02}"


def share(scene: Scene) -> Fraction:
    whole, part = figure(scene, "pie", "strip").value
    return Fraction(part, whole)


def units(scene: Scene) -> int:
    """Length of the bar in units of the ruler, or about that in the thing's size."""
    bar = figure(scene, "bar")
    if scene.items:
        return round(bar.width / scene.items[0].size)
    ruler = figure(scene, "ruler")
    assert abs((bar.x - bar.width / 2) - (ruler.x - ruler.width / 2)) < 1e-6
    length = bar.width / (ruler.width / ruler.value[0])
    assert abs(length - round(length)) < 1e-6
    return round(length)


def longest(scene: Scene, which: str) -> str:
    order = sorted(scene.figures, key=lambda f: f.width)
    return (order[-1] if which.startswith("long") else order[0]).colour


def compare(p: Puzzle, direction: str, first: str, second: str) -> bool:
    return p.count(first) > p.count(second) if direction in ("more", "larger") else p.count(first) < p.count(second)


def chance(p: Puzzle, noun: str) -> str:
    part = Fraction(p.count(noun), len(p.scene.items))
    assert part != Fraction(1, 2)
    if part in (0, 1):
        return "certain" if part else "impossible"
    return "likely" if part > Fraction(1, 2) else "unlikely"


def true_of(phrase: str, scene: Scene) -> list[str]:
    """The things of a scene that a fact is true of; every other thing must surely not be."""
    (fact,) = [f for f in FACTS if f.phrase == phrase]
    assert not {i.thing for i in scene.items} & fact.unsure
    return [i.thing.replace("-", " ") for i in scene.items if i.thing in fact.true]


def counted(p: Puzzle, noun: str) -> str:
    if noun == "things":
        return str(len(p.scene.items))
    colour = re.fullmatch(r"(\w+) things", noun)
    return str(sum(i.colour == colour[1] for i in p.scene.items) if colour else p.count(noun))


def which_count(p: Puzzle, direction: str, first: str, second: str) -> str:
    return first if compare(p, direction, first, second) else second


def most(scene: Scene) -> str:
    (name, n), *rest = names(scene).most_common()
    assert all(other < n for _, other in rest)
    return name


REL = r"(?:to the )?(above|below|left|right)(?: of)?"
Reader = Callable[..., str]


def yes(p: Puzzle, direction: str, first: str, second: str) -> str:
    return "yes" if compare(p, direction, first, second) else "no"


WORDS: list[tuple[str, Reader]] = [
    # geometry
    (r"What shape is this", lambda p: figure(p.scene).kind),
    (r"What is the name of this shape", lambda p: figure(p.scene).kind),
    (r"How do we call the figure shown here", lambda p: figure(p.scene).kind),
    (r"How many sides does this shape have", lambda p: str(SIDES[figure(p.scene).kind])),
    (r"How many straight sides do you see", lambda p: str(SIDES[figure(p.scene).kind])),
    (r"Count the edges of the figure\. What number do you get", lambda p: str(SIDES[figure(p.scene).kind])),
    # comparing
    (r"Are there (more|fewer) (.+) than (.+)", yes),
    (r"Do you see (more|fewer) (.+) than (.+)", yes),
    (r"Is the number of (.+) (larger|smaller) than the number of (.+)", lambda p, a, d, b: yes(p, d, a, b)),
    (r"Are there (more|fewer) (.+) or (.+)", which_count),
    (r"Which are there (more|fewer) of, (.+) or (.+)", which_count),
    (r"Of which do you see the (larger|smaller) number, (.+) or (.+)", which_count),
    # algebra
    (r"Each .+ is worth (\d+)\. What are all (.+) worth", lambda p, n, x: str(int(n) * p.count(x))),
    (r"One .+ costs (\d+)\. How much do all (.+) cost", lambda p, n, x: str(int(n) * p.count(x))),
    (r"Every .+ gives (\d+) points\. What do the (.+) give together", lambda p, n, x: str(int(n) * p.count(x))),
    (r"How many more (.+) make (\d+)", lambda p, x, n: str(int(n) - p.count(x))),
    (r"How many (.+) must be added to get (\d+)", lambda p, x, n: str(int(n) - p.count(x))),
    (r"You want (\d+) (.+)\. How many are still missing", lambda p, n, x: str(int(n) - p.count(x))),
    (r"Take away (\d+) of the (.+)\. How many .+ are left", lambda p, n, x: str(p.count(x) - int(n))),
    (r"If (\d+) (.+) go away, how many .+ stay", lambda p, n, x: str(p.count(x) - int(n))),
    (r"Someone takes (\d+) (.+)\. How many .+ remain", lambda p, n, x: str(p.count(x) - int(n))),
    # estimation and measurement
    (r"About how many .+ long is the bar", lambda p: str(units(p.scene))),
    (r"About how many .+ fit along the bar", lambda p: str(units(p.scene))),
    (r"Guess without measuring\. How many .+ in a row reach as far as the bar", lambda p: str(units(p.scene))),
    (r"How many units long is the bar", lambda p: str(units(p.scene))),
    (r"How long is the bar on the ruler", lambda p: str(units(p.scene))),
    (r"Read off the ruler where the bar ends\. What length is that", lambda p: str(units(p.scene))),
    (r"What colour is the (longest|shortest) bar", lambda p, which: longest(p.scene, which)),
    (r"Which colour has the (longest|shortest) bar", lambda p, which: longest(p.scene, which)),
    (r"One bar is (longer|shorter) than all others\. In which colour", lambda p, which: longest(p.scene, which)),
    # counting
    (r"How many (.+) are there", counted),
    (r"How many (.+) do you see", counted),
    (r"Count the (.+)\. What number do you get", counted),
    # spatial
    (rf"What is {REL} the (.+)", lambda p, rel, x: beside(p.scene, rel, x)),
    (rf"Which thing is directly {REL} the (.+)", lambda p, rel, x: beside(p.scene, rel, x)),
    (rf"Look {REL} the (.+)\. What stands there", lambda p, rel, x: beside(p.scene, rel, x)),
    (r"(?:What|Which thing) is in the (.+) corner", lambda p, place: corner(p.scene, place)),
    (r"Look at the (.+) corner\. What stands there", lambda p, place: corner(p.scene, place)),
    # scene
    (r"What is this", lambda p: only(p.names)),
    (r"What does the picture show", lambda p: only(p.names)),
    (r"How do we call the thing that is drawn here", lambda p: only(p.names)),
    (r"What colour is the (.+)", lambda p, x: find(p.scene, x).colour),
    (r"Which colour does the (.+) have", lambda p, x: find(p.scene, x).colour),
    (r"In which colour is the (.+) drawn", lambda p, x: find(p.scene, x).colour),
    (r"Which of these is in the picture", lambda p: only(c for c in p.choices if p.names[c])),
    (r"Which of these do you see in the picture", lambda p: only(c for c in p.choices if p.names[c])),
    (r"One of these is drawn in the picture\. Which one", lambda p: only(c for c in p.choices if p.names[c])),
    (r"Which of these is not in the picture", lambda p: only(c for c in p.choices if not p.names[c])),
    (r"Which of these do you not see in the picture", lambda p: only(c for c in p.choices if not p.names[c])),
    (r"One of these is missing in the picture\. Which one", lambda p: only(c for c in p.choices if not p.names[c])),
    # pattern
    (r"What comes next in the pattern|Which thing comes next|The pattern goes on\. What belongs in the empty place",
     lambda p: next_of([i.thing for i in reading_order(p.scene)]).replace("-", " ")),
    (r"Which colour comes next in the pattern|What is the next colour|The pattern goes on\. Which colour belongs .*",
     lambda p: next_of([i.colour for i in reading_order(p.scene)])),
    # time
    (r"What time does the clock show", lambda p: clock(p.scene)),
    (r"What time is it", lambda p: clock(p.scene)),
    (r"Read the two hands of the clock\. Which time is meant", lambda p: clock(p.scene)),
    (r"What time will it be in (.+)", lambda p, step: clock(p.scene, MINUTES[step])),
    (r"What time is it (.+) later", lambda p, step: clock(p.scene, MINUTES[step])),
    (r"The clock runs on for (.+)\. Which time is it then", lambda p, step: clock(p.scene, MINUTES[step])),
    # fraction
    (r"What fraction of the shape is coloured", lambda p: str(share(p.scene))),
    (r"Which part of the shape is coloured", lambda p: str(share(p.scene))),
    (r"How much of the figure is filled with colour", lambda p: str(share(p.scene))),
    (r"What fraction of the things are (.+)", lambda p, x: str(Fraction(p.count(x), len(p.scene.items)))),
    (r"Which part of the things are (.+)", lambda p, x: str(Fraction(p.count(x), len(p.scene.items)))),
    (r"How much of all that you see are (.+)", lambda p, x: str(Fraction(p.count(x), len(p.scene.items)))),
    # probability
    (r"You pick one thing without looking\. How likely is (.+)", chance),
    (r"How likely is it to pick (.+) without looking", chance),
    (r"With your eyes closed you take one thing\. What are the chances of (.+)", chance),
    (r"You pick one thing without looking\. Which is the most likely", lambda p: most(p.scene)),
    (r"Which thing are you most likely to pick without looking", lambda p: most(p.scene)),
    (r"With your eyes closed you take one thing\. What will it most probably be", lambda p: most(p.scene)),
    # common sense
    (r"Which of these (.+)", lambda p, fact: only(true_of(fact, p.scene))),
    (r"Which thing in the picture (.+)", lambda p, fact: only(true_of(fact, p.scene))),
    (r"Only one of these (.+)\. What is it", lambda p, fact: only(true_of(fact, p.scene))),
]  # fmt: skip


def single(scene: Scene) -> str:
    return only(names(scene))


def same_shape(p: Puzzle) -> str:
    return p.picture(lambda s: SIDES[figure(s).kind] == SIDES[figure(p.scene).kind])


def same_count(p: Puzzle) -> str:
    return p.picture(lambda s: len(s.items) == len(p.scene.items))


def other_count(p: Puzzle, direction: str) -> str:
    more = direction in ("more", "larger")
    return p.picture(lambda s: (len(s.items) > len(p.scene.items)) if more else (len(s.items) < len(p.scene.items)))


def shows_beside(p: Puzzle, relation: str, noun: str) -> str:
    return p.picture(lambda s: single(s) == beside(p.scene, relation, noun))


def shown(p: Puzzle, there: bool) -> str:
    return p.picture(lambda s: (single(s) in p.names) == there)


def continues(p: Puzzle) -> str:
    signs = [f"{i.colour} {i.thing}" for i in reading_order(p.scene)]
    return p.picture(lambda s: f"{s.items[0].colour} {s.items[0].thing}" == next_of(signs))


def adds_up(p: Puzzle, total: str, noun: str) -> str:
    return p.picture(lambda s: all(means(noun, n) for n in names(s)) and len(s.items) + p.count(noun) == int(total))


def also_true(p: Puzzle, phrase: str) -> str:
    assert true_of(phrase, p.scene)
    return p.picture(lambda s: bool(true_of(phrase, s)))


def best_chance(p: Puzzle) -> str:
    def part(scene: Scene) -> Fraction:
        return Fraction(names(scene)[single(p.scene)], len(scene.items))

    best = max(part(s) for s in p.choice_scenes)
    return p.picture(lambda s: part(s) == best)


PICTURES: list[tuple[str, Reader]] = [
    (r"Which picture has the same shape", same_shape),
    (r"Which shape is of the same kind as this one", same_shape),
    (r"Find the figure that has as many corners as this one", same_shape),
    (r"Which picture has the same number of things", same_count),
    (r"Which picture shows as many things as this one", same_count),
    (r"Count the things here, then find the picture with an equal count", same_count),
    (r"Which picture has (more|fewer) things than this one", other_count),
    (r"Where do you see (more|fewer) things than here", other_count),
    (r"Find the picture with a (larger|smaller) number of things", other_count),
    (rf"Which picture shows what is {REL} the (.+)", shows_beside),
    (rf"Which of these is directly {REL} the (.+)", shows_beside),
    (rf"Look {REL} the (.+)\. Find what stands there", shows_beside),
    (r"Which of these is in the picture", lambda p: shown(p, True)),
    (r"Which of these do you see in the picture", lambda p: shown(p, True)),
    (r"One of these is drawn in the picture\. Which one", lambda p: shown(p, True)),
    (r"Which of these is not in the picture", lambda p: shown(p, False)),
    (r"Which of these do you not see in the picture", lambda p: shown(p, False)),
    (r"One of these is missing in the picture\. Which one", lambda p: shown(p, False)),
    (r"Which picture comes next in the pattern", continues),
    (r"Which of these comes next", continues),
    (r"The pattern goes on\. Find the picture for the empty place", continues),
    (r"Which clock shows the same time", lambda p: p.picture(lambda s: clock(s) == clock(p.scene))),
    (r"Which of these clocks shows this time", lambda p: p.picture(lambda s: clock(s) == clock(p.scene))),
    (r"Find the clock whose hands stand as .*", lambda p: p.picture(lambda s: clock(s) == clock(p.scene))),
    (r"Which picture shows the same fraction", lambda p: p.picture(lambda s: share(s) == share(p.scene))),
    (r"Where is the same part coloured", lambda p: p.picture(lambda s: share(s) == share(p.scene))),
    (r"Find the figure of which just as much .*", lambda p: p.picture(lambda s: share(s) == share(p.scene))),
    (r"Which bar is about as long as this one", lambda p: p.picture(lambda s: units(s) == units(p.scene))),
    (r"Which picture has a bar of about this length", lambda p: p.picture(lambda s: units(s) == units(p.scene))),
    (r"Guess without measuring\. Where does .*", lambda p: p.picture(lambda s: units(s) == units(p.scene))),
    (r"Which bar is as long as this one", lambda p: p.picture(lambda s: units(s) == units(p.scene))),
    (r"Which picture has a bar of the same length", lambda p: p.picture(lambda s: units(s) == units(p.scene))),
    (r"Find the bar that ends at the same mark .*", lambda p: p.picture(lambda s: units(s) == units(p.scene))),
    (r"Which picture must be added to get (\d+) (.+)", adds_up),
    (r"Which picture makes (\d+) (.+) together with this one", adds_up),
    (r"You want (\d+) (.+) in all\. Which picture holds those still missing", adds_up),
    (r"This (.+)\. Which of these \1 too", also_true),
    (r"Which other thing (.+)", also_true),
    (r"Find one more thing of which this is true: it (.+)", also_true),
    (r"From which picture are you most likely to pick this thing", best_chance),
    (r"In which picture is it most likely to pick this thing without looking", best_chance),
    (r"With your eyes closed you want to take this thing\. .*", best_chance),
]  # fmt: skip


def answer(scene: Scene, text: str, choices: Sequence[str] = (), choice_scenes: Sequence[Scene] = ()) -> str:
    """The answer to a question, from what it says and what is drawn.

    Raises:
        LookupError: the question is of no known form.
    """
    puzzle = Puzzle(scene, choices, choice_scenes)
    for pattern, read in PICTURES if choice_scenes else WORDS:
        match = re.fullmatch(f"(?:{pattern})[.?]", text)
        if match:
            return read(puzzle, *match.groups())
    raise LookupError(text)
