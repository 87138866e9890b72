"""What a run began with, against what is here when it goes on."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedloom.core.errors import FedloomError
from fedloom.federation.inputs import changed, others
from fedloom.federation.record import RunFolder
from fedloom.federation.round import Stopped
from tests.federation import toy

Run = Callable[..., Any]
HERE = {"data": "d", "model": "m2", "model: weights": "w", "model: config.json": "c", "model: tokenizer.json": "t"}


@pytest.mark.parametrize(
    ("began", "words"),
    [
        (HERE, ""),
        ({**HERE, "data": "other"}, "data"),
        ({**HERE, "model": "m1", "model: config.json": "x"}, "model (its config.json)"),
        ({**HERE, "model": "m1", "model: weights": "x", "model: old.json": "x"}, "model (its old.json, weights)"),
        ({"data": "d", "model": "x"}, "model"),
        ({"data": "d", "model": "w"}, ""),
    ],
)
def test_what_differs_is_named(began: dict[str, str], words: str) -> None:
    assert changed(began, HERE) == words


def test_of_two_models_the_parts_that_differ_are_told_where_both_tell_theirs() -> None:
    theirs: dict[str, object] = {**HERE, "site": "a", "model": "m1", "model: config.json": "x", "model: new.json": "y"}
    assert others(theirs, HERE) == ["config.json", "new.json"]
    assert others(HERE, HERE) == others({"model": "m1"}, HERE) == others(HERE, {"model": "m1"}) == []


def test_a_run_of_an_earlier_release_goes_on_where_the_weights_agree_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        assert changed({"data": "d", "model": "w"}, HERE) == ""
    assert "hash of its model's weights alone" in caplog.text


def test_models_that_tell_no_parts_are_one_or_another() -> None:
    assert changed({"data": "d", "model": "a"}, {"data": "d", "model": "b"}) == "model"
    assert changed({"data": "d", "model": "a"}, {"data": "d", "model": "a"}) == ""


def stopped(run: Run, monkeypatch: pytest.MonkeyPatch, model: str, parts: dict[str, str]) -> None:
    monkeypatch.setattr(toy.Toy, "fingerprint", model)
    monkeypatch.setattr(toy.Toy, "identity", parts, raising=False)
    calls = iter(range(9))
    with pytest.raises(Stopped):
        run("rounds=3", stop=lambda: next(calls) >= 1)


def test_a_run_is_not_resumed_on_a_model_with_another_file(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {"weights": "w", "processor_config.json": "one"}
    stopped(run, monkeypatch, "m1", parts)
    with monkeypatch.context() as patch:
        patch.setattr(toy.Toy, "fingerprint", "m2")
        patch.setattr(toy.Toy, "identity", {**parts, "processor_config.json": "two"})
        with pytest.raises(FedloomError, match=r"the model \(its processor_config\.json\) is not what this run began"):
            run("rounds=3", resume=True)
    assert run("rounds=3", resume=True)["rounds"] == 3


def test_a_run_of_an_earlier_release_keeps_the_whole_identity_from_then_on(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stopped(run, monkeypatch, "w", {})
    monkeypatch.setattr(toy.Toy, "fingerprint", "m2")
    monkeypatch.setattr(toy.Toy, "identity", {"weights": "w", "config.json": "c"})
    run("rounds=3", resume=True)
    last = RunFolder(tmp_path / "run").last()
    assert last is not None
    assert (last.facts["model"], last.facts["model: config.json"]) == ("m2", "c")
