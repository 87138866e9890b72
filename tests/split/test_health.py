"""A host's health: who asks, and that nobody who asks takes what sites need."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from fedloom.split import health
from fedloom.split import host as hosts
from fedloom.split.host import Host
from tests.split.hosts import FakeDesk, Place, asked

ASKED = health_pb2.HealthCheckRequest(service="fedloom.Host")
SERVING = health_pb2.HealthCheckResponse.SERVING


@contextmanager
def channel(place: Place, host: Host) -> Iterator[grpc.Channel]:
    """An outsider's connection: no token."""
    secrets = grpc.ssl_channel_credentials((place.folder / "ca.pem").read_bytes())
    with grpc.secure_channel(host.address, secrets) as made:
        yield made


def status(call: Callable[[], Any]) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    code: grpc.StatusCode = caught.value.code()  # type: ignore[attr-defined]
    return code


def test_whoever_reaches_the_port_may_ask(place: Place) -> None:
    with place.host(FakeDesk()) as host, channel(place, host) as way:
        stub = health_pb2_grpc.HealthStub(way)
        for name in ("", "fedloom.Host"):
            assert stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=5).status == SERVING
        other = health_pb2.HealthCheckRequest(service="other")
        assert status(lambda: stub.Check(other, timeout=5)) == grpc.StatusCode.NOT_FOUND
        bare = way.unary_unary("/grpc.health.v1.Health/Check")
        assert status(lambda: bare(b"\xff", timeout=5)) == grpc.StatusCode.INVALID_ARGUMENT


def test_who_watches_takes_no_calls_from_sites(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "_CALLS", 4)
    with place.host(FakeDesk()) as host, channel(place, host) as way:
        watched = [health_pb2_grpc.HealthStub(way).Watch(ASKED) for _ in range(8)]
        assert {status(lambda call=call: next(call)) for call in watched} <= {
            grpc.StatusCode.UNIMPLEMENTED,
            grpc.StatusCode.RESOURCE_EXHAUSTED,
        }
        assert place.dial(host, patience=0.5).ask(asked("site")) == b"SITE"


def test_who_asks_and_says_nothing_makes_way(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "_CALLS", 6)
    monkeypatch.setattr(health, "MOST", 3)
    silent = threading.Event()

    def nothing() -> Iterator[bytes]:
        silent.wait(20)
        yield from ()

    with place.host(FakeDesk()) as host, channel(place, host) as way:
        held = []
        for number in range(8):
            held.append(way.stream_stream("/grpc.health.v1.Health/Check")(nothing()))
            if number >= 3:
                ended = held[number - 3]
                assert status(lambda ended=ended: next(ended)) == grpc.StatusCode.DEADLINE_EXCEEDED
        assert place.dial(host, patience=0.5).ask(asked("site")) == b"SITE"
        assert health_pb2_grpc.HealthStub(way).Check(ASKED, timeout=5).status == SERVING
        silent.set()


def test_a_question_that_does_not_come_is_not_waited_for(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_SECONDS", 0.2)
    silent = threading.Event()

    def nothing() -> Iterator[bytes]:
        silent.wait(20)
        yield from ()

    with place.host(FakeDesk()) as host, channel(place, host) as way:
        call = way.stream_stream("/grpc.health.v1.Health/Check")(nothing(), timeout=10)
        assert status(lambda: next(call)) == grpc.StatusCode.DEADLINE_EXCEEDED
        assert "the question did not come" in call.details()
        silent.set()
