import pytest

from fedloom.report import words


def test_scores_and_points() -> None:
    assert words.score(0.7204) == "72.0%"
    assert words.score(None) == "\u2013"
    assert words.points(0.412, 0.736) == "+32.4 points"
    assert words.points(0.5, 0.4) == "-10.0 points"
    assert words.points(None, 0.4) == ""


@pytest.mark.parametrize("after", [0.5, 0.50049, 0.49951])
def test_a_difference_that_rounds_to_nothing_has_no_sign(after: float) -> None:
    assert words.points(0.5, after) == "0.0 points"


def test_a_client_that_is_a_number_is_called_a_client() -> None:
    assert [words.client(name) for name in ("0", "12", "lyon", "7b")] == ["client 0", "client 12", "lyon", "7b"]


def test_counts_dates_and_intervals() -> None:
    assert (words.count(1, "round"), words.count(2, "round")) == ("1 round", "2 rounds")
    assert words.date("2026-11-27T00:36:11+00:00") == "2026-11-27 00:36 UTC"
    assert words.date("yesterday") == "yesterday"
    assert words.interval(0.651, 0.78) == "65.1% to 78.0%"


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
