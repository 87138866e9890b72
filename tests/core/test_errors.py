"""Messages that name the nearest known thing."""

from fedloom.core.errors import nearest


def test_nearest_guesses_and_lists() -> None:
    assert nearest("fedprx", ["fedprox", "local"]) == "Did you mean 'fedprox'? Known: fedprox, local."


def test_nearest_lists_all_when_nothing_is_near() -> None:
    assert nearest("zzz", ["b", "a"]) == "Known: a, b."
    assert nearest("zzz", []) == "Known: (none)."
