import pytest

from fedloom.report import words


def test_scores_and_points() -> None:
    assert words.score(0.7204) == "72.0%"
    assert words.score(None) == "\u2013"
    assert words.points(0.412, 0.736) == "+32.4 points"
    assert words.points(0.5, 0.4) == "-10.0 points"
    assert words.points(None, 0.4) == ""


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1_500_000, "1.5 MB"), (2e9, "2.0 GB"), (3e15, "3000.0 TB")]
)
def test_sizes(count: float, text: str) -> None:
    assert words.size(count) == text


@pytest.mark.parametrize(("seconds", "text"), [(8.4, "8.4 s"), (125, "2 min 05 s"), (11_220, "3 h 07 min")])
def test_durations(seconds: float, text: str) -> None:
    assert words.duration(seconds) == text


def test_numbers() -> None:
    assert words.number(4_120_000) == "4\u202f120\u202f000"


def test_parts_of_a_message_in_words() -> None:
    assert words.part("adapter.mask.indices") == "places of the entries kept"
    assert words.part("new") == "new"
