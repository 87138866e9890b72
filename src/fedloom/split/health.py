"""A host's health, as load balancers and Kubernetes ask for it: ``grpc.health.v1.Health/Check``, and no more.

Whoever reaches the port may ask, with no token. So the questions have few of a server's calls, and none for long:
``Watch``, which never ends, is not served, and a call whose question does not come makes way for others.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import grpc
from grpc_health.v1 import health_pb2

SERVICE = "grpc.health.v1.Health"
MOST = 64
"""Questions at a time; the next one ends the oldest."""

_SECONDS = 5.0
_Code = grpc.StatusCode


@dataclass
class Health:
    """Whether a server serves ``names``; in the beginning it does."""

    names: tuple[str, ...]
    serving: bool = True
    _asked: list[asyncio.Timeout] = field(default_factory=list)

    def handler(self) -> Any:
        """What a gRPC server of asyncio is given. On the wire, a stream of one message is a single one."""
        check = grpc.stream_stream_rpc_method_handler(self._check)
        return grpc.method_handlers_generic_handler(SERVICE, {"Check": check})

    async def _check(self, stream: Any, context: Any) -> None:
        if len(self._asked) >= MOST:
            with suppress(RuntimeError):  # it ends by itself
                self._asked.pop(0).reschedule(0.0)
        patience = asyncio.timeout(_SECONDS)
        self._asked.append(patience)
        try:
            async with patience:
                question = await context.read()
                name = _name(b"" if question is grpc.aio.EOF else question)
                if name is None:
                    await context.abort(_Code.INVALID_ARGUMENT, "this is no question about health.")
                if name not in self.names:
                    await context.abort(_Code.NOT_FOUND, "there is no such service.")
                told = health_pb2.HealthCheckResponse
                answer = told(status=told.SERVING if self.serving else told.NOT_SERVING)
                await context.write(answer.SerializeToString())
        except TimeoutError:
            await context.abort(_Code.DEADLINE_EXCEEDED, "the question did not come.")
        finally:
            if patience in self._asked:
                self._asked.remove(patience)


def _name(question: bytes) -> str | None:
    """The service that is asked about; ``None`` where it is no question."""
    try:
        return str(health_pb2.HealthCheckRequest.FromString(question).service)
    except Exception:  # DecodeError, whose module has no types
        return None
