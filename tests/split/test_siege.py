"""Sites with tokens that try to keep a host from the others: each costs itself and nobody else."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import grpc
import pytest

from fedloom.core.errors import FedloomError
from fedloom.split import flight, serve
from fedloom.split.frames import PART
from tests.split.hosts import FakeDesk, FakeJob, Place, asked
from tests.split.test_serve import BUSY, LATE, counted, raw, until

MOST = 8 * PART


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def stalling(announced: int, sent: int, end: threading.Event) -> Iterator[bytes]:
    """A request that says much, begins, and stops until the ``end``."""
    yield announced.to_bytes(8, "little") + bytes(PART - 8)
    for _ in range(sent // PART - 1):
        yield bytes(PART)
    end.wait(20)


def test_who_announces_the_most_and_sends_little_holds_nothing(place: Place, threads: ThreadPoolExecutor) -> None:
    end = threading.Event()
    with place.host(FakeDesk(max_bytes=MOST), flight_bytes=2 * MOST) as host:
        for site in "ab":
            threads.submit(raw, place, host, stalling(MOST, PART, end), site=site)
        until(lambda: counted(host, "in_flight_bytes") == 2 * (PART - 8))
        begun = time.monotonic()
        assert len(place.dial(host, "c").ask(asked("c" * (MOST - 100)))) == MOST - 100
        assert time.monotonic() - begun < 10
        until(lambda: counted(host, "in_flight_bytes") == 2 * (PART - 8))  # they are still there
        end.set()


def test_who_sent_the_most_and_stopped_makes_way(
    place: Place, threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would be cut off after 30 s and one for each megabyte that came; a third has no need to wait for that."""
    monkeypatch.setattr(flight, "STILL", 0.3)
    end = threading.Event()
    with place.host(FakeDesk(max_bytes=MOST), flight_bytes=2 * MOST) as host:
        stuck = [threads.submit(raw, place, host, stalling(MOST, MOST - PART, end), site=site) for site in "ab"]
        until(lambda: counted(host, "in_flight_bytes") == 2 * (MOST - PART - 8))
        begun = time.monotonic()
        assert len(place.dial(host, "c").ask(asked("c" * (MOST - 100)))) == MOST - 100
        assert time.monotonic() - begun < 10
        end.set()
        ends = [each.result() for each in stuck]
        assert BUSY in [end.code() for end in ends]
        assert any("others needed the room" in end.details() for end in ends)


def test_a_request_is_cut_off_by_what_came_of_it_and_not_by_what_was_announced(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0.4 s, and at 2 MiB/s a second for the 2 MiB that came: not the four for the 8 MiB that were announced."""
    monkeypatch.setattr(serve, "RATE", 2 * PART)
    end = threading.Event()
    with place.host(FakeDesk(max_bytes=MOST), sending=0.4) as host:
        begun = time.monotonic()
        error = raw(place, host, stalling(MOST, 2 * PART, end))
        assert (error.code(), 1.3 < time.monotonic() - begun < 4) == (LATE, True)
        end.set()


def test_a_host_that_ends_waits_for_no_slow_sender(place: Place, threads: ThreadPoolExecutor) -> None:
    end = threading.Event()
    host = place.host(FakeDesk(max_bytes=MOST))
    host.start()
    stuck = threads.submit(raw, place, host, stalling(MOST, PART, end), timeout=30)
    until(lambda: counted(host, "in_flight_bytes") == PART - 8)
    begun = time.monotonic()
    host.stop()
    assert time.monotonic() - begun < 10  # and not the minute that answers have
    error = stuck.result()
    assert (error.code(), "the host is stopping" in error.details()) == (grpc.StatusCode.UNAVAILABLE, True)
    end.set()


def test_a_site_is_answered_while_others_fill_the_queue(place: Place, threads: ThreadPoolExecutor) -> None:
    desk = FakeDesk(together=1)
    desk.gate.clear()
    with place.host(desk, queue=4) as host:
        crowd = [threads.submit(place.dial(host, site).ask, asked(site)) for site in "aabb"]
        assert desk.begun.acquire(timeout=5)
        until(lambda: counted(host, "queue_length") == 3)
        crowd.append(threads.submit(place.dial(host, "a", patience=60).ask, asked("more")))
        mine = threads.submit(place.dial(host, "c", patience=0.0).ask, asked("mine"))  # never told to come again
        until(lambda: counted(host, "queue_length") == 4)
        desk.gate.set()
        assert mine.result() == b"MINE"
        assert {each.result() for each in crowd} == {b"A", b"B", b"MORE"}
        assert "mine" in [text for texts in desk.passes[:3] for text in texts]  # one pass of each, at the most


@dataclass
class Reader(FakeDesk):
    """A desk that takes long to read what site a sends."""

    reading: int = 0
    most: int = 0

    def read(self, site: str, blob: bytes) -> FakeJob:
        if site == "a":
            self.reading += 1
            self.most = max(self.most, self.reading)
            time.sleep(0.3)
            self.reading -= 1
        return super().read(site, blob)


def test_a_site_whose_requests_are_slow_to_read_is_in_its_own_way_alone(
    place: Place, threads: ThreadPoolExecutor
) -> None:
    desk, large = Reader(), "x" * 2 * serve.INLINE
    with place.host(desk) as host:
        many = [threads.submit(place.dial(host, "a").ask, asked(large)) for _ in range(5)]
        until(lambda: counted(host, "in_flight_bytes") > 5 * len(large))
        assert place.dial(host, "b").ask(asked(large)) == large.upper().encode()
        assert sum(each.done() for each in many) < 4
        assert [each.result() for each in many] == [large.upper().encode()] * 5
        assert desk.most == 1


def test_a_site_that_leaves_while_its_request_is_read_reads_no_two(place: Place, threads: ThreadPoolExecutor) -> None:
    desk, large = Reader(), asked("x" * 2 * serve.INLINE)
    with place.host(desk) as host:
        for _ in range(4):
            dial = place.dial(host, "a")
            asks = threads.submit(dial.ask, large)
            until(lambda: counted(host, "in_flight_bytes") > len(large) - 1)
            time.sleep(0.05)
            dial.close()
            with pytest.raises(FedloomError):
                asks.result()
            until(lambda: counted(host, "open_requests") == 0)
        assert place.dial(host, "a").ask(large)
        assert desk.most == 1


def test_answers_that_nobody_takes_are_bounded(
    place: Place, threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A short request may have a long answer: it counts while it waits to be taken."""
    monkeypatch.setattr(flight, "STILL", 0.3)

    @dataclass
    class Talker(FakeDesk):
        def run(self, jobs: object) -> list[bytes]:
            return [bytes(MOST) for _ in jobs]  # type: ignore[attr-defined]

    done = threading.Event()

    def never_read(site: str) -> None:
        secrets = grpc.ssl_channel_credentials((place.folder / "ca.pem").read_bytes())
        with grpc.secure_channel(host.address, secrets) as channel:
            metadata = (("authorization", f"Bearer {place.token[site]}"),)
            call = channel.stream_stream("/fedloom.Host/Ask")(iter([framed]), metadata=metadata)
            done.wait(10)
            call.cancel()

    blob = asked("x")
    framed = len(blob).to_bytes(8, "little") + blob
    with place.host(Talker(), flight_bytes=2 * MOST) as host:
        for site in "aabb":
            threads.submit(never_read, site)
        until(lambda: counted(host, "in_flight_bytes") >= 2 * MOST)
        assert counted(host, "in_flight_bytes") <= 2 * MOST + 3 * MOST // 8
        assert len(place.dial(host, "c").ask(blob)) == MOST
        done.set()
