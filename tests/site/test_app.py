"""The ClientApp: a message goes to the worker and its answer comes back, also from a worker that was away."""

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("flwr")

from flwr.app import Context, Message, RecordDict

from fedloom.core import config
from fedloom.core.errors import FedloomError
from fedloom.site import app as client_app
from fedloom.site import letter, link, records
from fedloom.site.letter import Letter
from fedloom.site.link import Gone
from fedloom.site.worker import Worker
from tests.engines.fake_grid import identify
from tests.federation import toy
from tests.site.test_desk import letter as job
from tests.site.test_worker import Stub

SOCKET = Path("worker.sock")
HEALTH = letter.pack(Letter("health"))


@pytest.fixture(autouse=True)
def _server(monkeypatch: pytest.MonkeyPatch) -> None:
    identify(monkeypatch)


def message(asked: Letter) -> Message:
    return records.question(asked, 7, 60.0)


def context(run_config: dict[str, Any] | None = None, **node_config: Any) -> Context:
    return Context(1, 7, node_config, RecordDict(), run_config or {})


def hello(sets: tuple[str, ...] = ()) -> Letter:
    return Letter("hello", "run1", "h", experiment=config.dump(toy.experiment(*sets)))


class Away:
    """A worker that is gone and back: ``plan`` says what comes of each question, and when it is back."""

    def __init__(self, patch: pytest.MonkeyPatch, *plan: bytes | float) -> None:
        self.plan, self.now, self.back = list(plan), 0.0, 0.0
        self.asked: list[bytes] = []
        self.timeouts: list[float | None] = []
        patch.setattr(client_app, "time", SimpleNamespace(monotonic=lambda: self.now, sleep=self.sleep))
        patch.setattr(link, "ask", self.ask)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def ask(self, path: Path, question: bytes, timeout: float | None = None) -> bytes:
        self.timeouts.append(timeout)
        if question == HEALTH:
            if self.now < self.back:
                raise Gone("worker.sock: No such file or directory")
            return b"health"
        self.asked.append(question)
        step = self.plan.pop(0)
        if isinstance(step, bytes):
            return step
        self.back = self.now + step
        raise Gone("worker.sock: the other side ended")


def test_a_worker_that_is_there_is_asked_once_and_has_all_the_time_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    away = Away(monkeypatch, b"answer")
    assert client_app.ask(SOCKET, b"question", 60.0) == b"answer"
    assert (away.asked, away.timeouts, away.now) == ([b"question"], [None], 0.0)


def test_a_worker_that_is_back_in_time_is_asked_the_same_again(monkeypatch: pytest.MonkeyPatch) -> None:
    away = Away(monkeypatch, 7.0, b"answer")
    assert client_app.ask(SOCKET, b"question", 60.0) == b"answer"
    assert away.asked == [b"question", b"question"]
    assert 7.0 <= away.now < 7.5
    assert set(away.timeouts) == {None, 5}  # whether it is back it must say soon


def test_a_worker_that_stays_away_is_waited_for_no_longer_than_said(monkeypatch: pytest.MonkeyPatch) -> None:
    away = Away(monkeypatch, 7.0)
    with pytest.raises(FedloomError, match=r"no worker for 5 s: worker.sock: .* Fix: `fedloom site start`"):
        client_app.ask(SOCKET, b"question", 5.0)
    assert 5.0 <= away.now < 5.5


def test_a_message_over_which_the_worker_ends_again_and_again_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    away = Away(monkeypatch, 1.0, 1.0, 1.0, b"never asked for")
    with pytest.raises(FedloomError, match=r"the worker ended 3 times over one message \(out of memory\?\)"):
        client_app.ask(SOCKET, b"question", 60.0)
    assert len(away.asked) == 3


def test_how_long_is_waited_stands_in_the_nodes_settings(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    away = Away(monkeypatch, 7.0)
    asked = message(Letter("train", "run1", "n", "mercy", 3))
    answer = records.letter_of(client_app.app(asked, context(worker="worker.sock", wait=2)), 2**20)
    assert answer.error == "site '': the message did not reach a worker; the node's own log says why."
    assert capsys.readouterr().err.startswith("fedloom: no worker for 2 s: ")  # which names the socket: here alone
    assert answer == Letter("train", "run1", "n", "mercy", 3, error=answer.error)  # raised, it would be asked again
    assert away.now < 3
    away = Away(monkeypatch, 100.0)
    answer = records.letter_of(client_app.app(asked, context(worker="worker.sock")), 2**20)
    assert capsys.readouterr().err.startswith("fedloom: no worker for 60 s: ")


@pytest.fixture
def working(tmp_path: Path) -> Iterator[Worker]:
    """A worker of site ``mercy``."""
    made = Worker(Stub(tmp_path))
    thread = threading.Thread(target=made.serve)
    thread.start()
    while made._server is None:
        thread.join(timeout=0.005)
    yield made
    made.stop()
    thread.join(timeout=5)


@pytest.mark.parametrize("kind", ["hello", "train", "evaluate"])
def test_every_kind_of_message_goes_to_the_worker_and_its_answer_comes_back(working: Worker, kind: str) -> None:
    asked = message(Letter(kind, "run1", "n", "mercy", 3, parcel=b"abc"))  # type: ignore[arg-type]
    asked.metadata.__dict__["_message_id"] = "m1"
    answer = client_app.app(asked, context(worker=str(working.path)))
    assert records.letter_of(answer, 2**20) == Letter(kind, "run1", "n", "mercy", 3, parcel=b"cba")  # type: ignore[arg-type]
    assert answer.metadata.reply_to_message_id == "m1"


def test_bytes_that_are_no_letter_are_the_workers_to_refuse(working: Worker) -> None:
    answer = client_app.app(Message(records.content(b"\x80\x04K\x01."), 7, "train"), context(worker=str(working.path)))
    assert records.letter_of(answer, 2**20).error.startswith("site 'mercy': Letter: ")


def test_a_message_without_a_letter_is_refused_before_the_worker_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    away = Away(monkeypatch)
    with pytest.raises(FedloomError, match="holds no letter"):
        client_app.app(Message(RecordDict(), 7, "train"), context(worker="worker.sock"))
    assert away.asked == []


class TestWithoutAWorker:
    """The work is done in this process."""

    @pytest.fixture(autouse=True)
    def _toy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        toy.use(monkeypatch)
        monkeypatch.setattr(client_app, "_desks", {})

    @pytest.fixture
    def rules(self, tmp_path: Path) -> str:
        file = tmp_path / "site.toml"
        file.write_text('code = ["tests.federation.toy:*"]\n')
        return str(file)

    def answered(self, asked: Letter, given: Context) -> Letter:
        return records.letter_of(client_app.app(message(asked), given), 2**20)

    def test_it_is_said_once(self, tmp_path: Path, rules: str, capsys: pytest.CaptureFixture[str]) -> None:
        for _ in range(2):
            answer = self.answered(hello(), context(site="1", state=str(tmp_path), rules=rules))
            assert answer.error == ""
            assert (answer.facts["site"], answer.facts["loads"]) == ("1", 1)
        assert capsys.readouterr().err == "fedloom: no resident worker: 1 works in this process\n"

    def test_a_site_must_have_a_name(self, capsys: pytest.CaptureFixture[str]) -> None:
        answer = self.answered(hello(), context())
        assert answer.error.endswith("the node's own log says why.")
        assert "the SuperNode names no site. Fix: --node-config 'site=" in capsys.readouterr().err
        assert (answer.kind, answer.run, answer.nonce, answer.facts) == ("hello", "run1", "h", {})

    def test_the_sites_rules_hold(self, tmp_path: Path) -> None:
        answer = self.answered(hello(), context(site="1", state=str(tmp_path)))
        assert "the site refuses code 'tests.federation.toy:task'" in answer.error
        assert answer.error.startswith("site '1': ")

    def test_a_simulated_node_is_any_client_and_runs_its_own_users_code(self, tmp_path: Path) -> None:
        given = context({"state": str(tmp_path)}, **{"partition-id": 1, "num-partitions": 3})
        for client in "02":
            assert self.answered(job(toy.experiment("method=scaffold"), client=client), given).error == ""
        assert {file.name for file in tmp_path.iterdir()} == {"0", "2"}

    def test_desks_of_two_sites_are_kept_apart(self, tmp_path: Path, rules: str) -> None:
        names = [
            self.answered(hello(), context(site=site, state=str(tmp_path / site), rules=rules)).facts["site"]
            for site in ("0", "1", "0")
        ]
        assert names == ["0", "1", "0"]


def test_the_app_knows_no_other_message() -> None:
    asked = Message(RecordDict(), 7, "query.shell")
    with pytest.raises(ValueError, match="shell"):
        client_app.app(asked, context())
