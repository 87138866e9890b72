"""Flower's waits for parts of a message, shortened in this process."""

import pytest

pytest.importorskip("flwr")

from flwr.supercore.inflatable import inflatable_utils as parts

from fedloom.site.quick import FIRST, LONGEST, look_again_soon


def test_only_the_waits_change(monkeypatch: pytest.MonkeyPatch) -> None:
    for function in (parts.pull_objects, parts.pull_and_inflate_object_from_tree):
        monkeypatch.setattr(function, "__kwdefaults__", dict(function.__kwdefaults__))
    before = dict(parts.pull_objects.__kwdefaults__)
    look_again_soon()
    after = parts.pull_objects.__kwdefaults__
    assert after == before | {"initial_backoff": FIRST, "backoff_cap": LONGEST}
    assert after.keys() == before.keys()


def test_a_part_that_is_a_moment_late_is_there_a_moment_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts.pull_objects, "__kwdefaults__", dict(parts.pull_objects.__kwdefaults__))
    asked: list[str] = []

    def pull(number: str) -> bytes:
        asked.append(number)
        if len(asked) < 3:
            raise parts.ObjectUnavailableError(number)
        return b"part"

    look_again_soon()
    assert parts.pull_objects(["a"], pull) == {"a": b"part"}
    assert asked == ["a"] * 3
