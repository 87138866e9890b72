"""The resident worker: its owner's alone, one letter at a time, and never too busy to say how it is."""

import os
import socket
import stat
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fedloom.core import config
from fedloom.core.errors import FedloomError
from fedloom.site import letter, link, worker
from fedloom.site.desk import Desk
from fedloom.site.letter import Letter
from fedloom.site.link import Gone
from fedloom.site.policy import Policy
from fedloom.site.worker import Worker, state_of
from tests.federation import toy

Serve = Callable[..., Worker]
TRAIN = Letter("train", run="r", nonce="n", client="mercy", round=3)


class Stub(Desk):
    """A desk whose work is ``work(letter)``; it counts how many letters it has at a time."""

    def __init__(self, state: Path, work: Callable[[Letter], None] = lambda letter: None, **rest: Any) -> None:
        super().__init__(state, "mercy", **rest)
        self.work, self.now, self.most = work, 0, 0

    def answer(self, letter: Letter) -> Letter:
        self.now += 1
        self.most = max(self.most, self.now)
        self.work(letter)
        self.now -= 1
        return letter.answer(letter.parcel[::-1])


@pytest.fixture
def serve() -> Iterator[Serve]:
    """``serve(desk, tell)``: a worker in a thread of its own, which is ended after the test."""
    started: list[tuple[Worker, threading.Thread]] = []

    def start(desk: Desk, tell: Callable[[str], None] = lambda text: None, experiment: str = "") -> Worker:
        made = Worker(desk, tell)
        thread = threading.Thread(target=made.serve, args=(experiment,))
        started.append((made, thread))
        thread.start()
        until = time.monotonic() + 5
        while made._server is None and thread.is_alive() and time.monotonic() < until:
            time.sleep(0.005)
        return made

    yield start
    for made, thread in started:
        made.stop()
        thread.join(timeout=5)
        assert not thread.is_alive()


def asked(made: Worker, question: Letter) -> Letter:
    return letter.unpack(link.ask(made.path, letter.pack(question), timeout=5))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("before", [None, 0o755])
def test_only_its_owner_can_reach_it(tmp_path: Path, serve: Serve, before: int | None) -> None:
    state = tmp_path / "state"
    if before:
        state.mkdir(mode=before)
    umask = os.umask(0o022)
    try:
        made = serve(Stub(state))
        assert (mode(state), mode(made.path)) == (0o700, 0o600)
        assert made.path.is_socket()
        assert os.umask(0o022) == 0o022  # as it was before
    finally:
        os.umask(umask)


def test_a_letter_is_answered_and_told_of(tmp_path: Path, serve: Serve) -> None:
    lines: list[str] = []
    made = serve(Stub(tmp_path), lines.append)
    answer = asked(made, Letter("train", "r", "n", "mercy", 3, parcel=b"abc"))
    assert answer == Letter("train", "r", "n", "mercy", 3, parcel=b"cba")
    assert lines == ["round 3: train: 0.0 s, 3 bytes back"]
    assert made.answered == 1


def test_a_path_longer_than_a_sockets_name_works(tmp_path: Path, serve: Serve) -> None:
    made = serve(Stub(tmp_path / ("a" * 70) / ("b" * 70)))
    assert len(str(made.path)) > 108
    assert asked(made, TRAIN).nonce == "n"
    made.stop()


def test_letters_are_answered_one_at_a_time(tmp_path: Path, serve: Serve) -> None:
    desk = Stub(tmp_path, lambda letter: time.sleep(0.01))
    made = serve(desk)
    threads = [threading.Thread(target=asked, args=(made, TRAIN)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=5)
    assert (desk.most, made.answered) == (1, 5)


def test_it_says_how_it_is_while_a_long_job_runs(tmp_path: Path, serve: Serve) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def work(letter: Letter) -> None:
        begun.set()
        assert go_on.wait(5)

    desk = Stub(tmp_path, work)
    desk.loads = 2
    made = serve(desk)
    assert asked(made, Letter("health")).facts["doing"] == "waiting"
    thread = threading.Thread(target=asked, args=(made, TRAIN))
    thread.start()
    assert begun.wait(5)
    facts = asked(made, Letter("health")).facts
    go_on.set()
    thread.join(timeout=5)
    assert {key: facts[key] for key in ("site", "process", "doing", "answered", "loads")} == {
        "site": "mercy",
        "process": os.getpid(),
        "doing": "round 3: train",
        "answered": 0,
        "loads": 2,
    }
    assert int(facts["peak_memory_bytes"]) > 10**6
    assert 0 <= float(facts["seconds"]) < 60
    assert asked(made, Letter("health")).facts["doing"] == "waiting"
    assert asked(made, Letter("health")).facts["answered"] == 1


def test_told_to_stop_it_ends_what_it_does_first(tmp_path: Path) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def work(letter: Letter) -> None:
        begun.set()
        assert go_on.wait(5)

    made = Worker(Stub(tmp_path, work))
    serving = threading.Thread(target=made.serve)
    serving.start()
    while not made.path.exists() or made._server is None:
        time.sleep(0.005)
    answers: list[Letter] = []
    client = threading.Thread(target=lambda: answers.append(asked(made, TRAIN)))
    client.start()
    assert begun.wait(5)
    assert asked(made, Letter("stop")) == Letter("stop")
    serving.join(timeout=0.3)
    assert serving.is_alive()
    go_on.set()
    serving.join(timeout=5)
    client.join(timeout=5)
    assert not serving.is_alive()
    assert [answer.nonce for answer in answers] == ["n"]
    assert not made.path.exists()
    with pytest.raises(Gone):
        asked(made, Letter("health"))


def test_it_does_not_end_before_its_last_answer_is_on_its_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[str] = []
    made = Worker(Stub(tmp_path, lambda letter: made.stop()))
    send = link.send

    def slow(connection: socket.socket, blob: bytes) -> None:
        if threading.current_thread() is not client:
            time.sleep(0.3)
            happened.append("sent")
        send(connection, blob)

    def serve() -> None:
        made.serve()
        happened.append("ended")

    monkeypatch.setattr(link, "send", slow)
    serving = threading.Thread(target=serve)
    serving.start()
    while made._server is None:
        time.sleep(0.005)
    client = threading.Thread(target=asked, args=(made, TRAIN))
    client.start()
    client.join(timeout=5)
    serving.join(timeout=5)
    assert happened == ["sent", "ended"]


def test_a_second_worker_of_the_site_is_refused_and_the_first_goes_on(tmp_path: Path, serve: Serve) -> None:
    made = serve(Stub(tmp_path))
    with pytest.raises(FedloomError, match=r"worker.sock: a worker of this site is running\. Fix: `fedloom site stop"):
        Worker(Stub(tmp_path)).serve()
    assert asked(made, TRAIN).nonce == "n"


def test_a_second_worker_is_refused_while_the_first_is_busy(tmp_path: Path, serve: Serve) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def work(letter: Letter) -> None:
        begun.set()
        assert go_on.wait(5)

    made = serve(Stub(tmp_path, work))
    thread = threading.Thread(target=asked, args=(made, TRAIN))
    thread.start()
    assert begun.wait(5)
    with pytest.raises(FedloomError, match="a worker of this site is running"):
        Worker(Stub(tmp_path)).serve()
    go_on.set()
    thread.join(timeout=5)


def test_a_second_worker_is_refused_while_the_first_ends_its_last_job(
    tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def work(letter: Letter) -> None:
        begun.set()
        assert go_on.wait(5)

    ask = link.ask
    monkeypatch.setattr(link, "ask", lambda path, blob, timeout: ask(path, blob, min(timeout, 0.3)))
    first = serve(Stub(tmp_path, work))
    busy = threading.Thread(target=ask, args=(first.path, letter.pack(TRAIN)))
    busy.start()
    assert begun.wait(5)
    asked(first, Letter("stop"))
    time.sleep(0.2)  # the listening ends within a tenth of a second
    refused: list[str] = []
    second = Worker(Stub(tmp_path))

    def try_to() -> None:
        try:
            second.serve()
        except FedloomError as error:
            refused.append(str(error))

    thread = threading.Thread(target=try_to)
    thread.start()
    thread.join(timeout=0.6)
    go_on.set()
    second.stop()
    for each in (busy, thread):
        each.join(timeout=5)
    assert len(refused) == 1


def test_the_socket_that_a_killed_worker_left_is_in_nobodys_way(tmp_path: Path, serve: Serve) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as left:
        left.bind(str(tmp_path / worker.SOCKET))
    assert asked(serve(Stub(tmp_path)), TRAIN).nonce == "n"


def test_where_one_was_stopped_another_can_start(tmp_path: Path, serve: Serve) -> None:
    first = serve(Stub(tmp_path))
    asked(first, Letter("stop"))
    until = time.monotonic() + 5
    while first.path.exists() and time.monotonic() < until:
        time.sleep(0.01)
    assert asked(serve(Stub(tmp_path)), TRAIN).nonce == "n"


@pytest.mark.parametrize(
    ("blob", "words"),
    [
        (b"\x80\x04K\x01.", "do not begin with"),
        (letter.MAGIC + struct.pack("<Q", 10 * 2**30), "a head of 10737418240 bytes"),
        (letter.MAGIC + struct.pack("<Q", 99), "cut short"),
        (letter.MAGIC + struct.pack("<Q", 200_000) + b"[" * 200_000, "no valid JSON"),
    ],
    ids=["pickle", "huge head", "cut short", "bomb"],
)
def test_what_is_no_letter_is_refused_by_the_sites_name_and_the_worker_goes_on(
    tmp_path: Path, serve: Serve, blob: bytes, words: str
) -> None:
    lines: list[str] = []
    made = serve(Stub(tmp_path), lines.append)
    answer = letter.unpack(link.ask(made.path, blob, timeout=5))
    assert answer.error.startswith("site 'mercy': Letter: ")
    assert words in answer.error
    assert lines[0].startswith("refused: Letter: ")
    assert made.answered == 0
    assert asked(made, TRAIN).nonce == "n"


def test_a_frame_that_claims_10_gb_is_refused_before_it_comes(tmp_path: Path, serve: Serve) -> None:
    made = serve(Stub(tmp_path))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as attacker:
        attacker.settimeout(5)
        attacker.connect(str(made.path))
        attacker.sendall(struct.pack("<Q", 10 * 2**30))
        answer = letter.unpack(link.receive(attacker))
    allowed = 2 * 2**30
    assert answer.error == f"site 'mercy': a message of {10 * 2**30} bytes is more than the {allowed} allowed."
    assert asked(made, TRAIN).nonce == "n"


def test_the_sites_own_limit_holds(tmp_path: Path, serve: Serve) -> None:
    made = serve(Stub(tmp_path, policy=Policy(max_message_mb=1)))
    room = 2**20 - len(letter.pack(TRAIN))
    assert asked(made, Letter("train", "r", "n", "mercy", 3, parcel=bytes(room))).error == ""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
        one.settimeout(5)
        one.connect(str(made.path))
        one.sendall(struct.pack("<Q", 2**20 + 1))
        assert "more than the 1048576 allowed" in letter.unpack(link.receive(one)).error


def test_whoever_sends_too_much_is_told_so(tmp_path: Path, serve: Serve) -> None:
    made = serve(Stub(tmp_path, policy=Policy(max_message_mb=1)))
    answer = asked(made, Letter("train", "r", "n", "mercy", 3, parcel=bytes(8 * 2**20)))
    assert "more than the 1048576 allowed" in answer.error


@pytest.mark.parametrize("sent", [b"", b"\x08\0\0", struct.pack("<Q", 100) + b"half"])
def test_whoever_hangs_up_harms_nobody(tmp_path: Path, serve: Serve, sent: bytes) -> None:
    made = serve(Stub(tmp_path))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as rude:
        rude.connect(str(made.path))
        rude.sendall(sent)
    assert asked(made, TRAIN).nonce == "n"


def test_whoever_says_nothing_keeps_nobody_waiting(tmp_path: Path, serve: Serve) -> None:
    made = serve(Stub(tmp_path))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as silent:
        silent.connect(str(made.path))
        assert asked(made, TRAIN).nonce == "n"


def test_what_a_server_is_not_told_is_told_here(tmp_path: Path) -> None:
    lines: list[str] = []
    Worker(desk := Stub(tmp_path), lines.append)
    desk.tell("batch 1 (ward-7/patient-12): broken")
    assert lines == ["batch 1 (ward-7/patient-12): broken"]


def test_the_rules_hold_for_what_is_loaded_at_once(
    tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[str] = []
    monkeypatch.setattr("os.system", called.append)
    lines: list[str] = []
    made = serve(Desk(tmp_path, "mercy"), lines.append, config.dump(toy.experiment("task=os:system")))
    until = time.monotonic() + 5
    while not lines and time.monotonic() < until:
        time.sleep(0.005)
    assert lines == ["cannot load: the site refuses code 'os:system': its site.toml says code = []."]
    assert called == []
    assert asked(made, Letter("health")).facts["loads"] == 0


def test_a_stop_before_it_serves_is_nothing(tmp_path: Path) -> None:
    Worker(Stub(tmp_path)).stop()


def test_a_site_has_a_folder_of_its_own_by_its_name() -> None:
    assert state_of("mercy", None) == Path.home() / ".local" / "share" / "fedloom" / "sites" / "mercy"
    assert state_of("mercy", Path("here")) == Path.cwd() / "here"
