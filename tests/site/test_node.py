"""A site's SuperNode: messages go to the site's own ClientApp, and code that a server sends is never opened."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("flwr")

from flwr.app import Context, Message, RecordDict
from flwr.common.constant import ErrorCode, SubStatus
from flwr.proto.runtime_pb2 import AcquireTaskResponse
from flwr.proto.task_pb2 import Task

from fedloom.core.errors import FedloomError
from fedloom.site import app as client_app
from fedloom.site import node, records
from fedloom.site.letter import Letter
from tests.engines.fake_grid import identify

ASKED = Letter("train", "run1", "n", "mercy", 3, parcel=b"abc")


@pytest.fixture(autouse=True)
def _server(monkeypatch: pytest.MonkeyPatch) -> None:
    identify(monkeypatch)


class Bundle:
    """The app that a server sends; whoever looks into it fails."""

    def __getattribute__(self, name: str) -> Any:
        raise AssertionError(f"the bundle was opened: {name}")


class Client:
    """What a task talks to; ``done`` is what was done to it and to the task's heartbeat."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def close(self) -> None:
        self.done.append("closed")


@pytest.fixture
def pushed(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What ``do_task`` pushes; its message holds ``ASKED``."""
    found: dict[str, Any] = {"context": Context(1, 7, {"worker": "worker.sock"}, RecordDict(), {})}
    message = records.question(ASKED, 7, 60.0)
    message.metadata.__dict__["_message_id"] = "m1"

    class Heartbeat:
        def __init__(self, client: Client) -> None:
            self.client = client

        def start(self) -> None:
            self.client.done.append("heartbeat")

        def stop(self) -> None:
            self.client.done.append("no heartbeat")

    monkeypatch.setattr(node, "make_task_heartbeat_fn_http", lambda client: client)
    monkeypatch.setattr(node, "HeartbeatSender", Heartbeat)
    runtime = SimpleNamespace(
        pull_task_input=lambda client: (message, found["context"], Bundle(), Bundle()),
        push_message=lambda client, reply, context: found.update(reply=reply),
        push_task_output=lambda client, context, status, details: found.update(status=status, details=details),
    )
    monkeypatch.setattr(node, "runtime", runtime)
    return found


def test_a_message_goes_to_the_sites_own_app_and_the_bundle_stays_shut(
    pushed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Path, float]] = []

    def ask(worker: Path, question: bytes, wait: float) -> bytes:
        asked.append((worker, wait))
        return b"answer to " + question

    monkeypatch.setattr(client_app, "ask", ask)
    client = Client()
    node.do_task(client)  # type: ignore[arg-type]
    assert asked == [(Path("worker.sock"), client_app.WAIT)]
    assert records.blob_of(pushed["reply"]).endswith(b"abc")
    assert pushed["reply"].metadata.reply_to_message_id == "m1"
    assert (pushed["status"], pushed["details"]) == (SubStatus.COMPLETED, "")
    assert client.done == ["heartbeat", "no heartbeat", "closed"]


def test_what_fedloom_says_is_wrong_is_a_letter(pushed: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(worker: Path, question: bytes, wait: float) -> bytes:
        raise FedloomError("no worker for 60 s")

    monkeypatch.setattr(client_app, "ask", ask)
    node.do_task(Client())  # type: ignore[arg-type]
    told = records.letter_of(pushed["reply"], 2**20).error
    assert told == "site '': the message did not reach a worker; the node's own log says why."
    assert pushed["reply"].metadata.reply_to_message_id == "m1"
    assert (pushed["status"], pushed["details"]) == (SubStatus.COMPLETED, "")


def test_what_else_goes_wrong_in_the_app_is_the_answer(pushed: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(worker: Path, question: bytes, wait: float) -> bytes:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(client_app, "ask", ask)
    client = Client()
    node.do_task(client)  # type: ignore[arg-type]
    told = "ZeroDivisionError"  # its text may name what is the site's
    reply: Message = pushed["reply"]
    assert (reply.error.code, reply.error.reason) == (ErrorCode.CLIENT_APP_RAISED_EXCEPTION, told)
    assert reply.metadata.reply_to_message_id == "m1"
    assert (pushed["status"], pushed["details"]) == (SubStatus.FAILED, told)
    assert client.done == ["heartbeat", "no heartbeat", "closed"]


@pytest.mark.parametrize("step", ["pull_task_input", "push_message", "push_task_output"])
def test_a_message_that_cannot_be_fetched_or_answered_is_given_up_and_said(
    pushed: dict[str, Any], monkeypatch: pytest.MonkeyPatch, step: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: Any) -> None:
        raise ConnectionError("gone")

    monkeypatch.setattr(client_app, "ask", lambda worker, question, wait: b"answer")
    monkeypatch.setattr(node.runtime, step, broken)
    client = Client()
    node.do_task(client)  # type: ignore[arg-type]
    assert "given up: ConnectionError: gone" in capsys.readouterr().err
    assert client.done == ["heartbeat", "no heartbeat", "closed"]


class Enough(BaseException):
    """Ends a loop that has no end."""


class SuperNode:
    """What ``take_tasks`` asks for work: one of ``plan`` after the other."""

    def __init__(self, patch: pytest.MonkeyPatch, *plan: AcquireTaskResponse | Exception) -> None:
        self.plan, self.waits = list(plan), []  # type: ignore[var-annotated]
        self.clients: list[tuple[str, str]] = []
        self.tasks: list[Any] = []
        patch.setattr(node, "_client", self.client)
        patch.setattr(node, "do_task", self.tasks.append)
        patch.setattr(node.time, "sleep", self.sleep)

    def client(self, address: str, interceptor: Any) -> Any:
        self.clients.append((address, type(interceptor).__name__))
        return SimpleNamespace(AcquireTask=self.acquire, number=len(self.clients))

    def acquire(self, request: Any) -> AcquireTaskResponse:
        if not self.plan:
            raise Enough
        step = self.plan.pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)


def test_tasks_are_taken_as_they_come_and_trouble_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    none, some = AcquireTaskResponse(), AcquireTaskResponse(task=Task(task_id=4), token="t")
    place = SuperNode(monkeypatch, none, some, ConnectionError("not there yet"), some, none)
    with pytest.raises(Enough):
        node.take_tasks("127.0.0.1:9099", bytes(32))
    for thread in threading.enumerate():  # each task has one
        if thread is not threading.current_thread() and thread.daemon and thread.name.endswith("(append)"):
            thread.join(timeout=5)
    assert [task.number for task in place.tasks] == [2, 3]
    assert place.clients == [
        ("127.0.0.1:9099", "SuperExecAuthHttpInterceptor"),
        ("127.0.0.1:9099", "RuntimeTokenHttpInterceptor"),
        ("127.0.0.1:9099", "RuntimeTokenHttpInterceptor"),
    ]
    assert place.waits == [node.POLL] * 3
    assert capsys.readouterr().err == "fedloom: task: ConnectionError: not there yet\n"


def test_the_loops_clock_does_not_wait_long(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(node.time, "sleep", waits.append)
    node.Quick.sleep(3)
    node.Quick.sleep(0.01)
    assert waits == [node.POLL, 0.01]
    assert node.Quick.monotonic() <= node.Quick.monotonic()


def test_flower_has_what_is_set_in_it() -> None:
    """A version of Flower in which these are elsewhere would quietly be slow, or keep a node out after a crash."""
    assert callable(node.loop.time.sleep)
    assert node.loop.http_request_response is node.fleet.http_request_response
    assert node.fleet.HEARTBEAT_DEFAULT_INTERVAL == node.heartbeats.HEARTBEAT_DEFAULT_INTERVAL > node.HEARTBEAT


@pytest.fixture
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ``run_node`` sets in Flower is put back after the test."""
    for module, name in [
        (node.loop, "time"),
        (node.loop, "http_request_response"),
        (node.fleet, "HEARTBEAT_DEFAULT_INTERVAL"),
        (node.heartbeats, "HEARTBEAT_DEFAULT_INTERVAL"),
        (sys, "argv"),
    ]:
        monkeypatch.setattr(module, name, getattr(module, name))


@pytest.mark.usefixtures("unset")
def test_the_supernode_starts_no_app_and_listens_to_its_owner_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}
    taking = threading.Event()

    def take(address: str, secret: bytes) -> None:
        seen.update(address=address, secret=secret)
        taking.set()

    def supernode() -> None:
        assert taking.wait(5)
        file = Path(sys.argv[sys.argv.index("--superexec-auth-secret-file") + 1])
        seen.update(argv=list(sys.argv), file=file, told=file.read_bytes(), mode=file.parent.stat().st_mode & 0o777)
        seen.update(sleep=node.loop.time.sleep, heartbeat=node.fleet.HEARTBEAT_DEFAULT_INTERVAL)

    monkeypatch.setattr(node, "take_tasks", take)
    monkeypatch.setattr(node, "flower_supernode", supernode)
    node.run_node(["--superlink", "h:1", "--port", "9199", "--node-config", 'site="mercy"'], tmp_path)
    assert seen["argv"] == [
        *["flower-supernode", "--superlink", "h:1", "--port", "9199", "--node-config", 'site="mercy"'],
        *["--host", "127.0.0.1", "--isolation", "process", "--superexec-auth-secret-file", str(seen["file"])],
    ]
    assert seen["address"] == "127.0.0.1:9199"
    assert seen["secret"] == seen["told"]
    assert len(seen["secret"]) == 32
    assert seen["mode"] == 0o700
    assert seen["sleep"] == node.Quick.sleep
    assert seen["heartbeat"] == node.HEARTBEAT
    assert not seen["file"].exists()


class Fleet:
    """Flower's connection to a SuperLink that gives the number 77; ``signed_off``: the nodes that were."""

    def __init__(self, patch: pytest.MonkeyPatch, fails: bool = False) -> None:
        self.signed_off: list[int] = []
        self.fails = fails
        patch.setattr(node.fleet, "http_request_response", self.connect)
        patch.setattr(node, "FleetHttpClient", SimpleNamespace(from_server_address=self.client))
        patch.setattr(node, "NodeAuthHttpInterceptor", lambda private, public: (private, public))

    @contextmanager
    def connect(self, *given: Any) -> Iterator[tuple[int, tuple[Any, ...]]]:
        yield 77, given

    def client(self, *given: Any, interceptors: list[Any]) -> "Fleet":
        assert interceptors[1] == KEYS
        return self

    def __enter__(self) -> "Fleet":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def DeactivateNode(self, request: Any) -> None:
        if self.fails:
            raise ConnectionError("not there yet")
        self.signed_off.append(request.node_id)


KEYS = ("private", "public")
Connect = Callable[..., Any]


def test_which_node_it_is_is_remembered_and_signed_off_after_a_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet, file = Fleet(monkeypatch), tmp_path / "state" / "node.id"
    with node.connected(file, "h:1", False, b"roots", KEYS, None, 9.0) as connection:
        assert connection == (77, ("h:1", False, b"roots", KEYS, None, 9.0))
    assert (file.read_text(), fleet.signed_off) == ("77", [])
    with node.connected(file, "h:1", False, b"roots", KEYS):
        pass
    assert fleet.signed_off == [77]


@pytest.mark.parametrize("text", ["", "nonsense", "5"])
def test_a_node_that_cannot_be_signed_off_is_no_hindrance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    Fleet(monkeypatch, fails=True)
    file = tmp_path / "node.id"
    file.write_text(text)
    with node.connected(file, "h:1", False, b"roots", KEYS) as connection:
        assert connection[0] == 77
    assert file.read_text() == "77"


def test_without_keys_nobody_is_signed_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = Fleet(monkeypatch)
    (tmp_path / "node.id").write_text("5")
    with node.connected(tmp_path / "node.id", "h:1", True, None, None):
        pass
    assert fleet.signed_off == []
