"""The client's way to a host."""

import threading
import time
from pathlib import Path

import pytest

from fedloom.core.errors import FedloomError
from fedloom.deploy.process import free_port
from fedloom.split.dial import Dial
from fedloom.split.frames import PART
from tests.split.hosts import FakeDesk, Place, asked


def test_bytes_are_counted_as_they_travel(place: Place) -> None:
    with place.host(FakeDesk()) as host:
        dial = place.dial(host)
        assert dial.ask(asked("x")) == b"X"
        assert (dial.sent, dial.received) == (8 + len(asked("x")), 8 + 1)
        long = "x" * (2 * PART + 3)
        assert dial.ask(asked(long)) == long.upper().encode()
        assert (dial.sent, dial.received) == (16 + len(asked("x")) + len(asked(long)), 16 + 1 + len(long))


def test_a_host_that_is_not_there_is_tried_for_a_while() -> None:
    dial = Dial(f"127.0.0.1:{free_port()}", patience=0.5)
    begun = time.monotonic()
    with pytest.raises(FedloomError, match=r"it cannot be reached, for 0\.5 s now .* Fix: start it, .*split\.patience"):
        dial.ask(asked())
    assert 0.2 < time.monotonic() - begun < 3


def test_a_request_may_have_its_own_patience() -> None:
    dial = Dial(f"127.0.0.1:{free_port()}", patience=60)
    begun = time.monotonic()
    with pytest.raises(FedloomError, match=r"it cannot be reached \(.* Fix: start it"):
        dial.ask(asked(), patience=0)
    assert time.monotonic() - begun < 5
    with pytest.raises(FedloomError, match=r"it cannot be reached, for 0\.3 s now"):
        dial.ask(asked(), patience=0.3)


@pytest.mark.parametrize("which", ["root_certificates", "key", "certificate"])
def test_a_file_that_cannot_be_read(place: Place, tmp_path: Path, which: str) -> None:
    given = {"root_certificates": place.folder / "ca.pem", which: tmp_path / "none.pem"}
    with pytest.raises(FedloomError, match=r"host far\.example:1: .*none\.pem cannot be read \(No such .* Fix"):
        Dial("far.example:1", **given)  # type: ignore[arg-type]


def test_a_refused_request_is_not_tried_again(place: Place) -> None:
    desk = FakeDesk()
    with place.host(desk) as host, pytest.raises(FedloomError, match=rf"host {host.address}: split: .* poisoned"):
        place.dial(host).ask(asked("poison"))
    assert desk.passes == [["poison"]]


def test_something_else_answers_there(place: Place) -> None:
    from concurrent.futures import ThreadPoolExecutor

    import grpc

    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with pytest.raises(FedloomError, match="no fedloom host"):
        Dial(f"127.0.0.1:{port}").ask(asked())
    server.stop(0).wait()


def test_closing_ends_the_waiting() -> None:
    dial = Dial(f"127.0.0.1:{free_port()}", patience=60)
    threading.Timer(0.3, dial.close).start()
    begun = time.monotonic()
    with pytest.raises(FedloomError, match="was closed"):
        dial.ask(asked())
    assert time.monotonic() - begun < 5
