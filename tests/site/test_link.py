"""The local socket: one question and one answer, and nobody can make the other side read what it did not agree to."""

import os
import socket
import struct
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fedloom.core.errors import FedloomError
from fedloom.site import link
from fedloom.site.link import Gone

Talk = Callable[[socket.socket], None]


@contextmanager
def listening(path: Path, talk: Talk) -> Iterator[None]:
    """Somebody at ``path`` who does ``talk`` with the first who comes."""
    with link.short(path) as name, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(name)
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                talk(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield
        thread.join(timeout=5)
        assert not thread.is_alive()


def echo(connection: socket.socket) -> None:
    """Answers with the question, backwards."""
    link.send(connection, link.receive(connection)[::-1])


@contextmanager
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a socket."""
    one, other = socket.socketpair()
    with one, other:
        yield one, other


@pytest.mark.parametrize("size", [1, 2**20, 3 * 2**20 + 1])
def test_a_question_of_any_size_is_answered(tmp_path: Path, size: int) -> None:
    question = os.urandom(size)
    with listening(tmp_path / "s", echo):
        assert link.ask(tmp_path / "s", question) == question[::-1]


def test_a_message_is_its_length_and_its_bytes() -> None:
    with pair() as (one, other):
        link.send(one, b"hello")
        assert other.recv(99) == b"\x05\0\0\0\0\0\0\0hello"


def test_bytes_that_dribble_in_are_put_together() -> None:
    blob = bytes(range(256))

    def dribble() -> None:
        for byte in struct.pack("<Q", 256) + blob:
            one.sendall(bytes([byte]))

    with pair() as (one, other):
        thread = threading.Thread(target=dribble)
        thread.start()
        assert link.receive(other) == blob
        thread.join()


@pytest.mark.parametrize("claimed", [101, 10 * 2**30, 2**64 - 1])
def test_a_frame_that_claims_too_much_is_refused_and_nothing_of_it_is_read(claimed: int) -> None:
    with pair() as (one, other):
        one.sendall(struct.pack("<Q", claimed) + b"first bytes")
        tracemalloc.start()
        try:
            with pytest.raises(FedloomError, match=f"a message of {claimed} bytes is more than the 100 allowed"):
                link.receive(other, max_bytes=100)
            assert tracemalloc.get_traced_memory()[1] < 2**17
        finally:
            tracemalloc.stop()
        assert other.recv(99) == b"first bytes"


def test_a_frame_as_long_as_allowed_is_read() -> None:
    with pair() as (one, other):
        link.send(one, bytes(100))
        assert link.receive(other, max_bytes=100) == bytes(100)


@pytest.mark.parametrize("sent", [b"", b"\x05\0\0", b"\x05\0\0\0\0\0\0\0", b"\x05\0\0\0\0\0\0\0hell"])
def test_the_other_side_that_ends_in_the_middle_is_gone(sent: bytes) -> None:
    with pair() as (one, other):
        one.sendall(sent)
        one.close()
        with pytest.raises(Gone, match="ended in the middle"):
            link.receive(other)


def test_nobody_there_is_gone(tmp_path: Path) -> None:
    with pytest.raises(Gone, match=f"{tmp_path}/s: No such file"):
        link.ask(tmp_path / "s", b"")


def test_a_socket_that_a_killed_worker_left_is_gone(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / "s"))
    assert (tmp_path / "s").exists()
    with pytest.raises(Gone, match="Connection refused"):
        link.ask(tmp_path / "s", b"")


def test_a_file_that_is_no_socket_is_gone(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("no socket")
    with pytest.raises(Gone, match="Connection refused"):
        link.ask(tmp_path / "s", b"")


def test_whoever_ends_instead_of_answering_is_gone(tmp_path: Path) -> None:
    with listening(tmp_path / "s", lambda connection: None), pytest.raises(Gone):
        link.ask(tmp_path / "s", b"question")


def assert_set(event: threading.Event) -> None:
    assert event.wait(5)


def test_whoever_does_not_answer_in_time_is_gone(tmp_path: Path) -> None:
    asked = threading.Event()
    with listening(tmp_path / "s", lambda connection: assert_set(asked)):
        with pytest.raises(Gone, match="timed out"):
            link.ask(tmp_path / "s", b"question", timeout=0.05)
        asked.set()


def test_a_short_path_is_its_own_name(tmp_path: Path) -> None:
    path = Path("/tmp") / ("x" * 94)
    assert len(str(path)) == 99
    with link.short(path) as name:
        assert name == str(path)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs Linux's /proc")
def test_a_path_longer_than_a_sockets_name_may_be_works(tmp_path: Path) -> None:
    folder = tmp_path / ("a" * 60) / ("b" * 60)
    folder.mkdir(parents=True)
    path = folder / "worker.sock"
    assert len(str(path)) > 108
    open_before = len([*Path("/proc/self/fd").iterdir()])
    with listening(path, echo):
        assert path.is_socket()
        assert link.ask(path, b"abc") == b"cba"
    assert len([*Path("/proc/self/fd").iterdir()]) == open_before
    with pytest.raises(Gone):
        link.ask(folder / "nowhere" / "worker.sock", b"")


def test_without_another_name_a_long_path_is_refused_with_the_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "is_dir", lambda path: False)
    path = tmp_path / ("a" * 100) / "worker.sock"
    with pytest.raises(FedloomError, match=r"longer than the 100 characters .* Fix: --state"), link.short(path):
        pass
