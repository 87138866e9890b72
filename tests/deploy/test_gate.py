"""The gate before a SuperLink: what other machines may ask for, and how much."""

import asyncio
from typing import Any

import pytest

pytest.importorskip("flwr")

from fedloom.deploy.gate import Gate, is_here

INSIDE, OUTSIDE = "127.0.0.1", "192.0.2.7"


def ask(path: str, host: str, headers: dict[str, str] | None = None, body: tuple[bytes, ...] = (b"",)) -> int:
    """The status of a request through a gate that takes ten bytes; behind it everything is 200."""
    sent: list[dict[str, Any]] = []
    parts = list(body)

    async def behind(scope: dict[str, Any], receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    given = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    scope = {"type": "http", "client": (host, 1), "path": path, "headers": given}
    asyncio.run(Gate(behind, max_bytes=10)(scope, receive, send))
    return int(sent[0]["status"])


@pytest.mark.parametrize("path", ["/v1/fleet/pull-messages", "/health"])
def test_sites_reach_what_they_need(path: str) -> None:
    assert ask(path, OUTSIDE) == 200


@pytest.mark.parametrize("path", ["/v1/control/start-run", "/v1/runtime/acquire-task", "/docs", "/v1/fleetx", "/"])
def test_other_machines_reach_nothing_else(path: str) -> None:
    assert ask(path, OUTSIDE) == 403
    assert ask(path, INSIDE) == 200


@pytest.mark.parametrize("length", ["11", "10737418240", "-1", "ten"])
def test_a_length_that_is_too_large_or_none_is_refused(length: str) -> None:
    assert ask("/v1/fleet/push-object", INSIDE, {"Content-Length": length}) == 413


def test_a_body_that_goes_on_is_cut_off_though_its_length_was_not_said() -> None:
    assert ask("/v1/fleet/push-object", OUTSIDE, body=(b"12345", b"12345")) == 200
    assert ask("/v1/fleet/push-object", OUTSIDE, body=(b"12345", b"12345", b"1")) == 413


@pytest.mark.parametrize(("host", "here"), [("127.0.0.1", True), ("::1", True), ("10.0.0.1", False), ("", False)])
def test_loopback_is_here(host: str, here: bool) -> None:
    assert is_here(host) == here
