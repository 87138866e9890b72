"""icons-reports: picture and sentence tell a part each; the ceilings are shown by programs that read descriptions."""

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable

import pytest

from fedloom.core import resolve
from fedloom.core.contracts import Data, Sample
from fedloom.core.errors import FedloomError
from fedloom.core.seeds import Seeds
from fedloom.tasks._icons import reports
from fedloom.tasks._icons.packs import PRIVATE
from fedloom.tasks._icons.words import nouns

CHANCE = 1 / 6


@pytest.fixture(scope="module")
def drawn() -> list[reports.Report]:
    """Reports as the task draws them, with their scenes."""
    rng = Seeds(3).numpy("reports")
    offices = tuple(reports.OFFICES)
    return [reports.report(rng, reports.PACKS[n % 7], offices[n % 6]) for n in range(4200)]


def told(drawn: list[reports.Report], read: Callable[[reports.Report], set[str]]) -> tuple[float, float]:
    """Share of reports whose office a reader knows, and its accuracy where it guesses the others."""
    found = [read(report) for report in drawn]
    known = [offices == {report.office} for offices, report in zip(found, drawn, strict=True)]
    assert all(len(offices) <= 1 for offices in found), "a part never tells two offices"
    assert all(ok or not offices for ok, offices in zip(known, found, strict=True)), "nor a wrong one"
    share = sum(known) / len(known)
    return share, share + (1 - share) * CHANCE


def test_each_part_tells_three_fifths_and_both_nearly_all(drawn: list[reports.Report]) -> None:
    picture, text = (
        told(drawn, lambda r: reports.offices_of(r.scene)),
        told(drawn, lambda r: reports.offices_in(r.text)),
    )
    both = told(drawn, lambda r: reports.offices_of(r.scene) | reports.offices_in(r.text))
    assert picture == pytest.approx((0.60, 0.667), abs=0.02)
    assert text == pytest.approx((0.60, 0.667), abs=0.02)
    assert both == pytest.approx((0.97, 0.975), abs=0.01)


def test_no_thing_and_no_word_stands_for_two_offices() -> None:
    things = Counter(thing for own, _ in reports.OFFICES.values() for thing in own)
    words = [word for _, own in reports.OFFICES.values() for word in own]
    assert set(things.values()) == {1}
    for number, word in enumerate(words):
        others = [*words[:number], *words[number + 1 :], *reports.VAGUE, *reports.SENTENCES]
        assert not any(word in other for other in others), word


def test_a_part_that_does_not_tell_says_nothing_of_the_office(drawn: list[reports.Report]) -> None:
    """Things and words of no office are as frequent beside every office: their most frequent office is no guide."""
    vague: Callable[[reports.Report], Hashable] = lambda r: r.text  # noqa: E731
    untold = [r for r in drawn if r.tells in ("image", "neither")]
    votes: dict[Hashable, Counter[str]] = defaultdict(Counter)
    for report in untold[::2]:
        votes[vague(report)][report.office] += 1
    asked = [r for r in untold[1::2] if r.text in votes]
    right = sum(votes[r.text].most_common(1)[0][0] == r.office for r in asked) / len(asked)
    assert right == pytest.approx(CHANCE, abs=0.04)


def test_offices_are_as_frequent_as_one_another_in_every_pack() -> None:
    data: Data = resolve.build("tasks", "icons-reports", {"train": 84, "test": 42}).load()
    for half, each in ((data.train, 2), (data.test, 1)):
        counted = Counter((s.meta["pack"], s.answer) for s in half)
        assert len(counted) == 7 * 6
        assert set(counted.values()) == {each}


def test_every_sample_has_picture_sentence_and_its_office_among_the_choices() -> None:
    task = resolve.build("tasks", "icons-reports", {"train": 84, "test": 42})
    for sample in task.load().train:
        assert isinstance(sample, Sample)
        assert sample.images
        assert sample.text
        assert sample.answer in sample.choices == task.classes()
        assert sample.text in task.word(sample).prompt


def test_packs_that_draw_too_few_things_are_refused() -> None:
    rich = {
        p for p in PRIVATE if all(len(own & set(nouns(p))) >= reports.THINGS for own, _ in reports.OFFICES.values())
    }
    assert set(reports.PACKS) == rich
    with pytest.raises(FedloomError, match="codicons"):
        resolve.build("tasks", "icons-reports", {"packs": ("codicons",)})
