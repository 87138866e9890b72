"""What a server is told when something fails at a site: that it did, and nothing of its examples and its files."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedloom.core.contracts import Data, Task
from fedloom.core.errors import FedloomError
from fedloom.site.desk import Desk
from fedloom.site.letter import Letter
from fedloom.site.policy import Refusal
from tests.federation import toy
from tests.site.test_desk import desk, good, hello, kept, letter

FILE = "/srv/fedloom/data/ward-7/patient-12.png"


@pytest.fixture(autouse=True)
def _toy(monkeypatch: pytest.MonkeyPatch) -> None:
    toy.use(monkeypatch)


def failing(error: Exception) -> Callable[..., Any]:
    """A function that fails so."""

    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


def asked(here: Desk, question: Letter) -> tuple[Letter, list[str]]:
    """The answer, and what the site's own log says meanwhile."""
    told: list[str] = []
    here.tell = told.append
    return here.answer(question), told


BROKEN = [OSError(f"{FILE}: image file is truncated"), FedloomError(f"{FILE}: cannot be read.")]


@pytest.mark.parametrize("error", BROKEN, ids=["OSError", "FedloomError"])
def test_of_a_batch_that_fails_a_server_learns_neither_examples_nor_files_and_the_site_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    question = letter(toy.experiment("method=scaffold"))
    monkeypatch.setattr(toy.Toy, "collate", failing(error))
    answer, told = asked(desk(tmp_path), question)
    assert answer.error == "site '0': train, round 1: it failed (FedloomError); its own log says why."
    assert (answer.parcel, answer.facts) == (b"", {})
    (line,) = told
    assert line.startswith("client '0', round 1: batch 1 (train-")
    assert line.endswith(f"{FILE}: image file is truncated" if isinstance(error, OSError) else f"{error}")
    assert line.count("train-") == 2  # the ids of both examples
    assert kept(tmp_path) == {}


def test_of_a_loss_that_is_no_number_a_server_learns_no_examples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    question, loss = letter(toy.experiment()), toy.Toy.loss
    monkeypatch.setattr(toy.Toy, "loss", lambda model, batch: loss(model, batch) * float("nan"))
    answer, told = asked(desk(tmp_path), question)
    assert answer.error == "site '0': train, round 1: it failed (FedloomError); its own log says why."
    assert "batch 1 (train-" in told[0]
    assert "the loss is nan" in told[0]


def test_of_an_evaluation_that_fails_a_server_learns_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    question = letter(toy.experiment("evaluation.where=clients"), "evaluate", round=2)
    monkeypatch.setattr(toy.Toy, "answer", failing(OSError(FILE)))
    answer, told = asked(desk(tmp_path), question)
    assert answer.error == "site '0': evaluate, round 2: it failed (FedloomError); its own log says why."
    assert FILE in told[0]


@pytest.mark.parametrize(
    "error", [FedloomError(f"{FILE}: no such label."), UnicodeDecodeError("utf-8", FILE.encode(), 0, 1, FILE)]
)
def test_of_data_that_cannot_be_loaded_a_server_learns_that_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def unreadable() -> Task:
        def load() -> Data:
            raise error

        return replace(toy.task(), load=load)

    monkeypatch.setattr(toy, "unreadable", unreadable, raising=False)
    answer, told = asked(desk(tmp_path), hello(toy.experiment("task=tests.federation.toy:unreadable")))
    assert answer.error == "site '0': hello, round 0: it failed (FedloomError); its own log says why."
    assert FILE in told[0]


@pytest.mark.parametrize("parcel", [b"", b"\x80\x04K\x01.", bytes(99), b"\xff" * 99])
def test_a_parcel_that_cannot_be_read_is_told_to_the_site_with_client_and_round(tmp_path: Path, parcel: bytes) -> None:
    answer, told = asked(desk(tmp_path), letter(toy.experiment("method=scaffold"), parcel=parcel))
    assert answer.error == "site '0': train, round 1: it failed (FedloomError); its own log says why."
    assert told[0].startswith("client '0', round 1: Parcel: ")
    assert kept(tmp_path) == {}


def test_an_error_of_any_kind_is_an_answer_with_its_type_and_the_site(tmp_path: Path) -> None:
    here = desk(tmp_path)
    here.prepare = failing(ZeroDivisionError("division by zero"))  # type: ignore[method-assign]
    answer, told = asked(here, hello(toy.experiment()))
    assert answer.error == "site '0': hello, round 0: it failed (ZeroDivisionError); its own log says why."
    assert told == ["ZeroDivisionError: division by zero"]
    assert (answer.run, answer.nonce) == ("run1", "h")


def test_a_refusal_is_told_to_the_server_in_full(tmp_path: Path) -> None:
    here = desk(tmp_path)
    here.prepare = failing(Refusal("the site refuses it."))  # type: ignore[method-assign]
    assert asked(here, hello(toy.experiment()))[0].error == "site '0': the site refuses it."


def test_a_refusal_holds_no_folder_of_the_sites(tmp_path: Path) -> None:
    answer, _ = asked(desk(tmp_path, model="/srv/private/clip"), letter(toy.experiment(), model="other"))
    assert "its model has the hash" in answer.error
    assert "/srv/private" not in answer.error


def test_a_simulated_client_tells_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    question = letter(toy.experiment())
    monkeypatch.setattr(toy.Toy, "collate", failing(OSError(FILE)))
    answer, told = asked(desk(tmp_path, site=""), question)
    assert answer.error.startswith("client '0', round 1: batch 1 (train-")
    assert answer.error.endswith(f"): OSError: {FILE}")
    assert told == []


def test_after_a_failure_the_same_message_is_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, question = desk(tmp_path), letter(toy.experiment("method=scaffold"))
    with monkeypatch.context() as patch:
        patch.setattr(toy.Toy, "collate", failing(OSError(FILE)))
        assert here.answer(question).error
    assert good(here.answer(question)).parcel == good(desk(tmp_path / "fresh").answer(question)).parcel


def test_who_else_a_scenario_names_by_the_sites_own_examples_is_not_told(tmp_path: Path) -> None:
    by = toy.experiment("scenario=natural", "scenario.by=group")  # a server may name any field, such as the patient
    assert desk(tmp_path, "mercy").answer(hello(by)).error == "site 'mercy': the experiment has no such client."
