"""One request's way through a host: in order, in time, within bounds."""

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from fedloom.core.errors import FedloomError
from fedloom.split.frames import PART, parts
from fedloom.split.host import Host
from fedloom.split.queue import Stopping
from fedloom.split.serve import INLINE
from tests.split.hosts import FakeDesk, Place, asked

REFUSED, BUSY = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED
LATE, GONE = grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def until(what: Any, seconds: float = 10) -> None:
    """Wait until something is true."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)


def counted(host: Host, name: str, **labels: str) -> float:
    """A figure of a host's metrics."""
    return host.metrics.registry.get_sample_value(f"fedloom_host_{name}", labels) or 0.0


def ended(host: Host, outcome: str, kind: str = "loss") -> float:
    return counted(host, "requests_total", kind=kind, outcome=outcome)


def raw(place: Place, host: Host, given: Iterator[bytes] | list[bytes], timeout: float = 10, site: str = "a") -> Any:
    """A call as any program could make it; its result is the status."""
    secrets = grpc.ssl_channel_credentials((place.folder / "ca.pem").read_bytes())
    with grpc.secure_channel(host.address, secrets) as channel:
        call = channel.stream_stream("/fedloom.Host/Ask")
        metadata = (("authorization", f"Bearer {place.token[site]}"),)
        try:
            return b"".join(call(iter(given), timeout=timeout, metadata=metadata))
        except grpc.RpcError as error:
            return error


def test_waiting_requests_share_a_pass(place: Place, threads: ThreadPoolExecutor) -> None:
    desk = FakeDesk()
    desk.gate.clear()
    with place.host(desk) as host:
        dials = {site: place.dial(host, site) for site in "abc"}
        first = threads.submit(dials["a"].ask, asked("first"))
        assert desk.begun.acquire(timeout=5)
        rest = [threads.submit(dials[site].ask, asked(site)) for site in "abcabc"]
        until(lambda: counted(host, "queue_length") == 6)
        desk.gate.set()
        assert first.result() == b"FIRST"
        assert [each.result() for each in rest] == [b"A", b"B", b"C"] * 2
        assert [len(each) for each in desk.passes] == [1, 6]
        assert (counted(host, "batch_sum"), counted(host, "batch_count")) == (7, 2)
        assert ended(host, "answered") == 7
        assert counted(host, "wait_seconds_count") == 7
        assert counted(host, "held_bytes") == 77
        until(lambda: counted(host, "open_requests") == counted(host, "in_flight_bytes") == 0)


def test_what_needs_no_model_waits_for_none(place: Place) -> None:
    desk = FakeDesk()
    desk.gate.clear()
    with place.host(desk) as host:
        busy = threading.Thread(target=place.dial(host).ask, args=(asked("slow"),))
        busy.start()
        assert desk.begun.acquire(timeout=5)
        assert place.dial(host, "b").ask(asked(kind="hello")) == b"b"
        desk.gate.set()
        busy.join()


def test_a_poisoned_request_costs_only_itself(place: Place, threads: ThreadPoolExecutor) -> None:
    desk, told = FakeDesk(), list[str]()
    desk.gate.clear()
    with place.host(desk, told) as host:
        dials = [place.dial(host, site) for site in "abc"]
        busy = threads.submit(dials[0].ask, asked("busy"))
        assert desk.begun.acquire(timeout=5)
        found = [threads.submit(dial.ask, asked(t)) for dial, t in zip(dials, ("poison", "bug", "good"), strict=True)]
        until(lambda: counted(host, "queue_length") == 3)
        desk.gate.set()
        assert busy.result() == b"BUSY"
        with pytest.raises(FedloomError, match="this one is poisoned"):
            found[0].result()
        with pytest.raises(FedloomError, match=r"the host failed at it \(RuntimeError\)") as caught:
            found[1].result()
        assert found[2].result() == b"GOOD"
    assert [("something secret" in text, "Traceback" in text) for text in told] == [(True, True)]
    assert "secret" not in str(caught.value)  # what went wrong inside is the operator's to read
    assert (ended(host, "refused"), ended(host, "failed")) == (1, 1)


def test_a_full_queue_is_told_and_tried_again(place: Place, threads: ThreadPoolExecutor) -> None:
    desk = FakeDesk(together=1)
    desk.gate.clear()
    with place.host(desk, queue=2, share=9) as host:
        dial = place.dial(host)
        asks = [threads.submit(dial.ask, asked("0"))]
        assert desk.begun.acquire(timeout=5)
        asks += [threads.submit(dial.ask, asked(str(number))) for number in (1, 2, 3)]
        until(lambda: ended(host, "busy", "unread") > 1)
        assert counted(host, "queue_length") == 2
        impatient = place.dial(host, "a", patience=0.3)
        with pytest.raises(
            FedloomError, match=r"it is busy, for 0.3 s now \(2 requests wait .* Fix: fewer clients .*--queue"
        ):
            impatient.ask(asked("4"))
        desk.gate.set()
        assert [each.result() for each in asks] == [b"0", b"1", b"2", b"3"]


def test_no_site_fills_the_queue_alone(place: Place, threads: ThreadPoolExecutor) -> None:
    desk = FakeDesk(together=1)
    desk.gate.clear()
    with place.host(desk, queue=4) as host:
        greedy, other = place.dial(host, "a"), place.dial(host, "b")
        many = [threads.submit(greedy.ask, asked("a")) for _ in range(5)]
        until(lambda: ended(host, "busy", "unread") > 2)
        assert counted(host, "open_requests") == 2  # half of the queue
        mine = threads.submit(other.ask, asked("b"))
        until(lambda: counted(host, "queue_length") == 2)
        desk.gate.set()
        assert mine.result() == b"B"
        assert [each.result() for each in many] == [b"A"] * 5


def test_a_client_that_is_gone_frees_its_place(place: Place, threads: ThreadPoolExecutor) -> None:
    desk = FakeDesk(together=1)
    desk.gate.clear()
    with place.host(desk) as host:
        busy = threading.Thread(target=place.dial(host).ask, args=(asked("busy"),))
        busy.start()
        assert desk.begun.acquire(timeout=5)
        leaving = place.dial(host, "b")
        gone = threads.submit(leaving.ask, asked("never"))
        until(lambda: counted(host, "queue_length") == 1)
        leaving.close()
        with pytest.raises(FedloomError, match="was closed"):
            gone.result()
        until(lambda: counted(host, "queue_length") == 0)
        until(lambda: ended(host, "gone") == 1)
        desk.gate.set()
        busy.join()
        assert desk.passes == [["busy"]]


def test_a_deadline_ends_the_waiting(place: Place) -> None:
    desk = FakeDesk(together=1)
    desk.gate.clear()
    with place.host(desk) as host:
        busy = threading.Thread(target=place.dial(host).ask, args=(asked("busy"),))
        busy.start()
        assert desk.begun.acquire(timeout=5)
        hasty = place.dial(host, "b", deadline=0.2, patience=0.5)
        with pytest.raises(FedloomError, match=r"does not answer in time.* Fix: raise split\.deadline"):
            hasty.ask(asked("late"))
        until(lambda: counted(host, "queue_length") == 0)
        desk.gate.set()
        busy.join()
        assert desk.passes == [["busy"]]


def test_a_slow_sender_holds_nobody_up_and_is_cut_off(place: Place, threads: ThreadPoolExecutor) -> None:
    desk = FakeDesk()

    def trickle() -> Iterator[bytes]:
        yield (1000).to_bytes(8, "little") + b"x"
        time.sleep(3)
        yield b"y"

    with place.host(desk, sending=0.5) as host:
        slow = threads.submit(raw, place, host, trickle())
        until(lambda: counted(host, "in_flight_bytes") == 1)  # what came, and not what was announced
        assert place.dial(host, "b").ask(asked("quick")) == b"QUICK"
        error = slow.result()
        assert (error.code(), "did not arrive within 0.5 s" in error.details()) == (LATE, True)
        assert counted(host, "in_flight_bytes") == 0
        assert ended(host, "late", "unread") == 1


def test_a_site_with_a_slow_line_is_told_what_would_let_it_in(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def slowly(blob: bytes) -> Iterator[bytes]:
        for part in parts(blob):
            yield part
            time.sleep(3)

    monkeypatch.setattr("fedloom.split.dial.parts", slowly)
    with (
        place.host(FakeDesk(), sending=0.5) as host,
        pytest.raises(FedloomError, match=r"within 0\.5 s \(--sending\).* Fix: a larger --sending there, or lower"),
    ):
        place.dial(host, patience=0.1).ask(asked("x" * (PART + 1)))


@pytest.mark.parametrize("size", [100, 2 * INLINE])
def test_what_still_arrives_when_the_host_ends_is_to_be_sent_again(
    place: Place, threads: ThreadPoolExecutor, size: int
) -> None:
    blob = asked("x" * size)
    host = place.host(FakeDesk())

    def stopping() -> bool:
        try:
            host.service.queue.check_open()
        except Stopping:
            return True
        return False

    def stop_at_half() -> None:
        until(lambda: counted(host, "in_flight_bytes") == 50)
        host.stop()

    def halves() -> Iterator[bytes]:
        yield len(blob).to_bytes(8, "little") + blob[:50]
        until(stopping)
        yield blob[50:]

    with host:
        stopped = threads.submit(stop_at_half)
        error = raw(place, host, halves())
        assert (error.code(), "the host is stopping" in error.details()) == (grpc.StatusCode.UNAVAILABLE, True)
        stopped.result()


def test_more_than_may_be_is_refused_by_its_announcement(place: Place) -> None:
    desk = FakeDesk(max_bytes=3 * PART)
    with place.host(desk) as host:
        with pytest.raises(FedloomError, match=f"{3 * PART + 1} bytes are more than the {3 * PART} allowed"):
            place.dial(host).ask(bytes(3 * PART + 1))
        assert counted(host, "bytes_total", way="in") == 0


def test_announcements_that_lie_and_requests_that_are_none(place: Place) -> None:
    with place.host(FakeDesk()) as host:
        for given, told in (
            ([(3).to_bytes(8, "little") + b"four"], "4 bytes came, and 3 were announced"),
            ([(3).to_bytes(8, "little") + b"1"], "ended before all bytes"),
            ([(3).to_bytes(8, "little"), b"12", b"34"], "4 bytes came"),
            ([b"12"], "expected 8 that say"),
            ([], "ended before"),
            ([(3).to_bytes(8, "little"), b"{.}"], "this is no request"),
        ):
            error = raw(place, host, given)
            assert (error.code(), told in error.details()) == (REFUSED, True), error.details()
        error = raw(place, host, [bytes(PART + 2000)])  # a part that is larger than parts are
        assert error.code() == BUSY
        assert place.dial(host).ask(asked("still here")) == b"STILL HERE"
        until(lambda: counted(host, "open_requests") == counted(host, "in_flight_bytes") == 0)


def test_bytes_of_requests_at_work_are_bounded(place: Place, threads: ThreadPoolExecutor) -> None:
    desk = FakeDesk(together=1)
    desk.gate.clear()
    big = asked("x" * 2 * PART)
    with place.host(desk, flight_bytes=3 * PART) as host:
        first = threads.submit(place.dial(host).ask, big)
        assert desk.begun.acquire(timeout=5)
        second = threads.submit(place.dial(host, "b").ask, big)
        until(lambda: ended(host, "busy", "unread") > 0)
        assert counted(host, "in_flight_bytes") == len(big)
        desk.gate.set()
        assert first.result() == second.result() == b"X" * 2 * PART
        assert json.loads(big)["text"].upper().encode() == first.result()


def test_a_client_that_leaves_in_mid_answer_is_no_error(
    place: Place, threads: ThreadPoolExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    desk, told = FakeDesk(max_bytes=64 << 20), list[str]()
    desk.gate.clear()
    with place.host(desk, told) as host:
        for text in ("x" * (40 << 20), "bug"):
            secrets = grpc.ssl_channel_credentials((place.folder / "ca.pem").read_bytes())
            channel = grpc.secure_channel(host.address, secrets)
            metadata = (("authorization", f"Bearer {place.token['a']}"),)
            call = channel.stream_stream("/fedloom.Host/Ask")(parts(asked(text)), metadata=metadata)
            assert desk.begun.acquire(timeout=10)
            if text != "bug":
                desk.gate.set()
                next(call)
            channel.close()
            until(lambda: counted(host, "open_requests") == 0)
            desk.gate.set() if text == "bug" else desk.gate.clear()
        assert place.dial(host, "b").ask(asked("next")) == b"NEXT"
        assert ended(host, "gone") == 2
    assert [("something secret" in text) for text in told] == [True]  # nobody waits for it, and the operator is told
    assert caplog.text == ""
