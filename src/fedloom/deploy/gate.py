"""A SuperLink whose port is safe to open to sites.

Flower serves three things on one port: what SuperNodes need (``/v1/fleet``, with keys), and the control of runs and
the work of ServerApps, both without any identity by default. Whoever reaches such a port can start code on the server.
Here the latter two answer this machine alone, and no request may be larger than a part of a message.
"""

import ipaddress
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from flwr.superlink import main as flower
from flwr.superlink.cli.flower_superlink import flower_superlink
from starlette.middleware import Middleware

OPEN = ("/v1/fleet/", "/health")
"""The paths that other machines may ask for."""

MAX_REQUEST = 64 * 2**20
"""Bytes of the largest request; Flower sends messages in parts of 5 MiB."""

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


def run_superlink(arguments: Sequence[str]) -> None:
    """Run the SuperLink until it is stopped; ``arguments`` are those of ``flower-superlink``."""
    os.environ["FORWARDED_ALLOW_IPS"] = "127.0.0.1"  # or a header could say that a request comes from here
    sys.argv = ["flower-superlink", *arguments]
    flower.extensions.get_middleware = lambda: [Middleware(Gate)]  # type: ignore[attr-defined]
    flower_superlink()


class TooLarge(Exception):
    """A request went on beyond what is taken."""


class Gate:
    """Refuses what comes from other machines and is none of their business, and what is too large; ASGI middleware."""

    def __init__(self, app: Callable[..., Awaitable[None]], max_bytes: int = MAX_REQUEST) -> None:
        self.app, self.max_bytes = app, max_bytes

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        host = (scope.get("client") or ("",))[0]
        if not is_here(host) and not scope["path"].startswith(OPEN):
            await refuse(send, 403, "fedloom: only the SuperLink's own machine may ask for this.")
            return
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if not length.isdigit() or int(length) > self.max_bytes:
            await refuse(send, 413, f"fedloom: a request may have {self.max_bytes} bytes.")
            return
        await self._counted(scope, receive, send)

    async def _counted(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Pass a request on whose length was not said, or was a lie, as long as it is not too large."""
        total, begun = 0, False

        async def counted() -> dict[str, Any]:
            nonlocal total
            message = await receive()
            total += len(message.get("body", b""))
            if total > self.max_bytes:
                raise TooLarge
            return message

        async def noted(message: dict[str, Any]) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self.app(scope, counted, noted)
        except TooLarge:
            if not begun:
                await refuse(send, 413, f"fedloom: a request may have {self.max_bytes} bytes.")


def is_here(host: str) -> bool:
    """Whether an address is this machine's own (loopback)."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def refuse(send: Send, status: int, text: str) -> None:
    """Answer with a status and one line."""
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": text.encode()})
