"""Lists about places and numbers: each answer is what the picture shows, and none is told before it is asked for."""

import re
from collections import Counter

import numpy as np
import pytest

from fedloom.core.contracts import IMAGE
from fedloom.core.passage import IGNORE
from fedloom.core.seeds import Seeds
from fedloom.models.language.sequences import Words
from fedloom.pretrain import claims, lists, relations
from fedloom.pretrain.tokens import LENGTH, train_tokenizer
from fedloom.pretrain.vlm import LESSONS, SINGLE
from fedloom.tasks._icons.packs import PRIVATE
from fedloom.tasks._icons.scene import Scene, draw
from fedloom.tasks._icons.skills import comparing, spatial
from fedloom.tasks._icons.words import plural, spoken


@pytest.fixture
def scenes(monkeypatch: pytest.MonkeyPatch) -> list[Scene]:
    """What is drawn, in order."""
    found: list[Scene] = []
    monkeypatch.setattr(relations, "draw", lambda scene: found.append(scene) or draw(scene))
    return found


def places(scene: Scene) -> dict[str, tuple[float, float]]:
    return {spoken(item.thing): (item.x, item.y) for item in scene.items}


def stands(there: dict[str, tuple[float, float]], asked: str, answer: str) -> bool:
    """Whether a question or its short form is answered by coordinates alone."""
    asked = asked.partition("Choices:")[0]
    x, y = there[answer]
    for name, right in (
        ("top left", x < 0.5 and y < 0.5),
        ("top right", x > 0.5 and y < 0.5),
        ("bottom left", x < 0.5 and y > 0.5),
        ("bottom right", x > 0.5 and y > 0.5),
    ):
        if name in asked:
            return right
    anchor = next(name for name in sorted(there, key=len, reverse=True) if re.search(rf"\b{name}[:?.]", asked))
    ax, ay = there[anchor]
    told = {
        "above": x == ax and y < ay,
        "below": x == ax and y > ay,
        "to the left of": y == ay and x < ax,
        "to the right of": y == ay and x > ax,
    }
    return next(holds for relation, holds in told.items() if relation in asked)


@pytest.mark.parametrize("sort", ["corner", "beside", "placed"])
def test_places_are_those_of_the_picture(sort: str, scenes: list[Scene]) -> None:
    rng = np.random.default_rng(1)
    for _ in range(150):
        _, items = relations.listed(rng, sort)
        there = places(scenes[-1])
        assert all(stands(there, asked, answer) for asked, answer in items)
        assert len({answer for _, answer in items}) == len(items)
        for asked, answer in items:
            if "Choices:" in asked:
                choices = re.search(r"Choices: (.*)\. Answer", asked)
                assert choices
                assert answer in choices[1].split(", ")


FORMS = [
    (re.compile(re.escape(form).replace(r"\{\}", "(.+)")), direction, kind)
    for kind, forms in (("which", comparing.WHICH), ("than", comparing.THAN))
    for direction, wordings in forms.items()
    for form in wordings[:2]
]


@pytest.mark.parametrize("sort", ["counts", "than", "compared", "few"])
def test_numbers_are_those_of_the_picture(sort: str, scenes: list[Scene]) -> None:
    rng = np.random.default_rng(2)
    seen: list[bool] = []
    for _ in range(200):
        _, items = relations.listed(rng, sort)
        counts = Counter(plural(item.thing) for item in scenes[-1].items)
        for asked, answer in items:
            if sort in ("compared", "few"):
                text = asked.removeprefix("Question: ").partition(" Choices:")[0].removesuffix(" Answer:")
                named, direction, kind = next((m, d, k) for form, d, k in FORMS if (m := form.fullmatch(text)))
                first, second = named.groups()
                holds = (counts[first] > counts[second]) == (direction == "more")
                assert counts[first] != counts[second]
                right = (first, second) if kind == "which" else ("yes", "no")
                assert answer == right[not holds]
                seen.append(holds)
                continue
            names = re.findall(r'"([^"]+)"', asked)
            if sort == "counts":
                assert answer == str(counts[names[0]])
                continue
            more = counts[names[0]] - counts[names[1]]
            assert answer == f"{abs(more)} {'more' if more > 0 else 'fewer'}"
            seen.append(more > 0)
    if sort == "few":
        assert max(len(scene.items) for scene in scenes) == 4
        seen = seen[::4]  # four of a list agree
    assert sort == "counts" or np.mean(seen) == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(len(seen)))


def test_a_pair_is_asked_for_in_all_four_ways() -> None:
    rng = np.random.default_rng(5)
    for _ in range(50):
        _, items = relations.listed(rng, "few")
        asked = [
            text.removeprefix("Question: ").partition(" Choices:")[0].removesuffix(" Answer:") for text, _ in items
        ]
        ways = [next((d, k) for form, d, k in FORMS if form.fullmatch(text)) for text in asked]
        assert sorted(ways) == [("fewer", "than"), ("fewer", "which"), ("more", "than"), ("more", "which")]


def test_the_last_lessons_are_questions_of_tasks() -> None:
    rng = np.random.default_rng(6)
    for _ in range(20):
        example = SINGLE["comparing"](rng)
        assert re.search("more|fewer", example.prompt)
        assert "Choices: " in example.prompt
        assert len(example.choices) == 2


def test_only_answers_are_learnt() -> None:
    words = Words(train_tokenizer(Seeds(0)), IMAGE, LENGTH)
    rng = np.random.default_rng(3)
    for sort in relations.LISTS:
        example, items = relations.listed(rng, sort)
        tokens, wanted = lists.spell(words, example, items, 16)
        assert tokens.count(words.image_id) == 16
        assert all(target in (IGNORE, token) for token, target in zip(tokens, wanted, strict=True))
        learnt = str(words._tokenizer.decode([target for target in wanted if target != IGNORE]))
        assert learnt.split() == " ".join(answer for _, answer in items).split()


def test_what_is_kept_for_the_clients_is_not_taught(scenes: list[Scene]) -> None:
    rng = np.random.default_rng(4)
    texts = [
        asked
        for sort in ("placed", "compared", "few")
        for _ in range(200)
        for asked, _ in relations.listed(rng, sort)[1]
    ]
    private = [forms[2].split("{}")[0].strip() for forms in (spatial.CORNER, *comparing.WHICH.values())]
    assert not any(opening in text for opening in private for text in texts)
    assert not {item.pack for scene in scenes for item in scene.items} & set(PRIVATE)


def test_shares_are_whole() -> None:
    assert sum(share for share, _ in relations.COURSE) == pytest.approx(1)
    for _, shares in relations.COURSE:
        assert sum(shares.values()) == pytest.approx(1)
        assert set(shares) <= {*relations.LISTS, *claims.LISTS, *LESSONS, *SINGLE}
