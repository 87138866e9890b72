"""A site's SuperNode that runs the site's own ClientApp, and no code that a server sends.

Flower's SuperNode starts a new process for every message and loads in it whatever app the SuperLink hands out. Here
SuperNode and ClientApp live in one process: ``flower-supernode --isolation process``, and a thread that takes its
tasks. The app bundle is never opened. It also looks for messages more often than every three seconds.
"""

import os
import secrets
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from flwr.app import Error, Message
from flwr.common.constant import ErrorCode, SubStatus
from flwr.proto.fleet_pb2 import DeactivateNodeRequest
from flwr.proto.runtime_pb2 import AcquireTaskRequest
from flwr.supercore import heartbeat as heartbeats
from flwr.supercore.constant import TaskType
from flwr.supercore.heartbeat import HeartbeatSender, make_task_heartbeat_fn_http
from flwr.supercore.interceptors import (
    RuntimeTokenHttpInterceptor,
    RuntimeVersionHttpInterceptor,
    SuperExecAuthHttpInterceptor,
)
from flwr.supercore.retry import make_simple_http_retry_invoker
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supernode import fleet_http_connection as fleet
from flwr.supernode import start_client_internal as loop
from flwr.supernode.cli.flower_supernode import flower_supernode
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor
from flwr.supernode.runtime import run_clientapp as runtime

from fedloom.core.printable import in_line
from fedloom.site.app import app
from fedloom.site.quick import look_again_soon

POLL = 0.1
"""Seconds between two looks for work."""

HEARTBEAT = 10
"""Seconds between two heartbeats, the fewest that a SuperLink takes; after twice as many a node is lost."""

ACQUIRE = frozenset({"/flwr.proto.Runtime/AcquireTask"})


class Quick:
    """The clock that the SuperNode's loop waits on: its three seconds between looks are ``POLL``."""

    time, monotonic = staticmethod(time.time), staticmethod(time.monotonic)

    @staticmethod
    def sleep(seconds: float) -> None:
        """Wait, but not for long."""
        time.sleep(min(seconds, POLL))


def run_node(arguments: Sequence[str], state: Path) -> None:
    """Run the SuperNode until it is stopped; ``arguments`` are those of ``flower-supernode``, ``--port`` among them.

    ``state``: the folder in which it remembers which node it was, to be let in at once after a crash.
    """
    secret, port = secrets.token_bytes(32), arguments[arguments.index("--port") + 1]
    with tempfile.TemporaryDirectory(prefix="fedloom-node-") as folder:  # its owner's alone
        file = Path(folder) / "secret"
        file.write_bytes(secret)
        own = ["--host", "127.0.0.1", "--isolation", "process", "--superexec-auth-secret-file", str(file)]
        sys.argv = ["flower-supernode", *arguments, *own]
        look_again_soon()
        loop.time = Quick  # type: ignore[assignment, attr-defined]
        fleet.HEARTBEAT_DEFAULT_INTERVAL = heartbeats.HEARTBEAT_DEFAULT_INTERVAL = HEARTBEAT  # type: ignore[attr-defined]
        loop.http_request_response = partial(connected, state / "node.id")  # type: ignore[attr-defined]
        threading.Thread(target=take_tasks, args=(f"127.0.0.1:{port}", secret), daemon=True).start()
        try:
            flower_supernode()
        except Exception:  # Flower's server thread would keep a process alive that does nothing any more
            traceback.print_exc()
            os._exit(1)


@contextmanager
def connected(file: Path, address: str, insecure: bool, roots: Any, keys: Any, *limits: Any) -> Iterator[Any]:
    """Flower's connection to the SuperLink. It lets nobody in twice, also not after a crash, until the last heartbeat
    is long past: so the node that this one was, whose number ``file`` has, is first signed off with its own key."""
    if keys and file.exists():
        signed: list[Any] = [RuntimeVersionHttpInterceptor(component_name="SuperNode"), NodeAuthHttpInterceptor(*keys)]
        client = FleetHttpClient.from_server_address(address, insecure, roots, interceptors=signed)
        with client, suppress(Exception):  # it was signed off already, or the SuperLink is not there yet
            client.DeactivateNode(DeactivateNodeRequest(node_id=int(file.read_text())))
    with fleet.http_request_response(address, insecure, roots, keys, *limits) as connection:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(str(connection[0]))
        yield connection


def take_tasks(address: str, secret: bytes) -> None:
    """Take the SuperNode's tasks, each in a thread of its own, for as long as the process lives.

    The SuperNode has one message at a time, so there is one task; but a task whose message went away with its run waits
    for it in vain, and must not keep the next one waiting.
    """
    client = _client(address, SuperExecAuthHttpInterceptor(master_secret=secret, protected_methods=ACQUIRE))
    while True:
        try:
            found = client.AcquireTask(AcquireTaskRequest(supported_task_types=[TaskType.CLIENT_APP]))
            if found.HasField("task") and found.token:
                own = _client(address, RuntimeTokenHttpInterceptor(found.token))
                threading.Thread(target=do_task, args=(own,), daemon=True).start()
                continue
        except Exception as error:
            print(f"fedloom: task: {type(error).__name__}: {in_line(error)}", file=sys.stderr, flush=True)
        time.sleep(POLL)


def do_task(client: RuntimeHttpClient) -> None:
    """One message: hand it to the site's ClientApp and push what it answers; what goes wrong is the answer."""
    heartbeat = HeartbeatSender(make_task_heartbeat_fn_http(client))
    heartbeat.start()
    status, details = SubStatus.COMPLETED, ""
    try:
        message, context, _, _ = runtime.pull_task_input(client)
        try:
            reply = app(message=message, context=context)
        except Exception as error:
            traceback.print_exc()  # here alone: its text may name what is the site's
            status, details = SubStatus.FAILED, type(error).__name__
            reply = Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, details), reply_to=message)
        runtime.push_message(client, reply, context)
        runtime.push_task_output(client, context, status, details)
    except Exception as error:
        print(f"fedloom: a message was given up: {type(error).__name__}: {in_line(error)}", file=sys.stderr, flush=True)
    finally:
        heartbeat.stop()
        client.close()


def _client(address: str, interceptor: Any) -> RuntimeHttpClient:
    return RuntimeHttpClient.from_server_address(
        server_address=address,
        insecure=True,
        root_certificates=None,
        interceptors=[RuntimeVersionHttpInterceptor(component_name="SuperExec"), interceptor],
        retry_invoker=make_simple_http_retry_invoker(),
    )
