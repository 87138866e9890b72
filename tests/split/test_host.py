"""A host as a whole: who is let in, how it is watched, how it begins and ends."""

import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fedloom.core.errors import FedloomError
from fedloom.deploy.process import free_port
from fedloom.split.dial import Dial
from fedloom.split.host import Door, Host
from fedloom.split.identity import Identity
from tests.split.hosts import FakeDesk, Place, asked, client_authority


def test_nothing_that_learns_is_served(place: Place) -> None:
    with pytest.raises(FedloomError, match=r"'decoder\.0' can learn"):
        place.host(FakeDesk(learning=["decoder.0"]))


@pytest.mark.parametrize("token", ["", "wrong"])
def test_strangers_are_told_so_and_nothing_else(place: Place, token: str) -> None:
    desk = FakeDesk()
    with place.host(desk) as host:
        with pytest.raises(FedloomError, match=r"host 127\.0\.0\.1:\d+: .*token"):
            place.dial(host, token=token).ask(asked())
        assert desk.passes == []


def test_without_tls_nothing_is_said(place: Place) -> None:
    with place.host(FakeDesk()) as host, pytest.raises(FedloomError, match="it cannot be reached"):
        Dial(host.address, token=place.token["a"], patience=0.3).ask(asked())


def test_another_authoritys_host_is_told_nothing(place: Place, tmp_path: Path) -> None:
    other = Place(tmp_path / "other")
    desk = FakeDesk()
    with other.host(desk) as host, pytest.raises(FedloomError, match=r"it cannot be reached.*its certificate"):
        place.dial(host, patience=0.3).ask(asked())


def test_plaintext_is_for_loopback_alone(place: Place) -> None:
    with pytest.raises(FedloomError, match=r"--listen 0\.0\.0\.0:1: open to other machines.* --certificates"):
        Door("0.0.0.0:1")
    with Host(FakeDesk(), Identity(place.tokens), Door("127.0.0.1:0")) as host:
        assert Dial(host.address, token=place.token["b"]).ask(asked(kind="hello")) == b"b"


def test_a_certificate_is_as_good_as_a_token(place: Place, tmp_path: Path) -> None:
    ca, key, certificate = client_authority(tmp_path / "sites", "north")
    with Host(FakeDesk(), Identity(None), place.door(ca.read_bytes())) as host:
        mine = Dial(host.address, root_certificates=place.folder / "ca.pem", key=key, certificate=certificate)
        assert mine.ask(asked(kind="hello")) == b"north"
        _, *others = client_authority(tmp_path / "others", "north")
        for files in ({}, {"key": others[0], "certificate": others[1]}):
            with pytest.raises(FedloomError, match="it cannot be reached"):
                Dial(host.address, root_certificates=place.folder / "ca.pem", patience=0.3, **files).ask(asked())


def test_metrics(place: Place) -> None:
    with place.host(FakeDesk()) as host:
        place.dial(host).ask(asked())
        port = free_port()
        end = host.metrics.serve("127.0.0.1", port)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as page:
            text = page.read().decode()
        with pytest.raises(FedloomError, match=f"--metrics 127.0.0.1:{port}: .*Fix: another port"):
            host.metrics.serve("127.0.0.1", port)
        end()
    assert 'fedloom_host_requests_total{kind="loss",outcome="answered"} 1.0' in text
    for name in ("batch_count", "wait_seconds_count", "model_seconds_total", "queue_length", "in_flight_bytes"):
        assert f"fedloom_host_{name} " in text
    assert "fedloom_host_held_bytes 77.0" in text
    assert 'fedloom_host_bytes_total{way="in"}' in text


def test_a_port_that_is_taken(place: Place) -> None:
    with place.host(FakeDesk()) as host:
        door = Door(host.address, *[(place.folder / f"server.{end}").read_bytes() for end in ("pem", "key")])
        with pytest.raises(FedloomError, match="Fix: a port that is free"):
            Host(FakeDesk(), Identity(place.tokens), door).start()


def test_pem_files_that_are_none(place: Place) -> None:
    with pytest.raises(FedloomError, match="PEM files"):
        Host(FakeDesk(), Identity(place.tokens), Door("127.0.0.1:0", b"no", b"pem")).start()


def test_what_runs_is_answered_before_it_ends_and_the_rest_asks_its_successor(place: Place) -> None:
    desk, later = FakeDesk(together=1), FakeDesk()
    desk.gate.clear()
    host = place.host(desk)
    host.start()
    with ThreadPoolExecutor(2) as threads:
        dial = place.dial(host)
        runs = threads.submit(dial.ask, asked("runs"))
        assert desk.begun.acquire(timeout=5)
        waits = threads.submit(dial.ask, asked("waits"))
        threading.Timer(0.3, desk.gate.set).start()
        host.stop()
        assert runs.result() == b"RUNS"
        assert desk.passes == [["runs"]]
        door = Door(host.address, *[(place.folder / f"server.{end}").read_bytes() for end in ("pem", "key")])
        with Host(later, Identity(place.tokens), door):
            assert waits.result() == b"WAITS"


def test_what_ends_it_is_told(place: Place) -> None:
    told: list[str] = []
    host = place.host(FakeDesk(), told)
    with host:
        assert host._loop
        host._loop.call_soon_threadsafe(host._ending.set_exception, RuntimeError("the disk is gone"))
        end = time.monotonic() + 10
        while host.alive and time.monotonic() < end:
            time.sleep(0.01)
        assert not host.alive
    assert [("RuntimeError: the disk is gone" in text, "Traceback" in text) for text in told] == [(True, True)]
    host.service.worker.join(5)
    assert not host.service.worker.is_alive()  # nobody asks any more


def test_stopping_twice_is_stopping_once(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    host = place.host(FakeDesk())
    host.start()
    with ThreadPoolExecutor(4) as threads:
        for stopped in [threads.submit(host.stop) for _ in range(4)]:
            stopped.result()
    host.stop()
    assert (host.alive, caplog.text) == (False, "")
