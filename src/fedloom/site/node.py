"""A site's SuperNode that runs the site's own ClientApp, and no code that a server sends.

Flower's SuperNode starts a new process for every message and loads in it whatever app the SuperLink hands out. Here
SuperNode and ClientApp live in one process: ``flower-supernode --isolation process``, and a thread that takes its
tasks. The app bundle is never opened. It also looks for messages more often than every three seconds.

    python -m fedloom.site.node --superlink HOST:8000 --node-config 'site="mercy" worker="..."' [flower-supernode ...]
"""

import argparse
import os
import secrets
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from flwr.app import Error, Message
from flwr.common.constant import ErrorCode, SubStatus
from flwr.proto.runtime_pb2 import AcquireTaskRequest
from flwr.supercore.constant import TaskType
from flwr.supercore.heartbeat import HeartbeatSender, make_task_heartbeat_fn_http
from flwr.supercore.interceptors import (
    RuntimeTokenHttpInterceptor,
    RuntimeVersionHttpInterceptor,
    SuperExecAuthHttpInterceptor,
)
from flwr.supercore.retry import make_simple_http_retry_invoker
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supernode import start_client_internal as loop
from flwr.supernode.cli.flower_supernode import flower_supernode
from flwr.supernode.runtime import run_clientapp as runtime

from fedloom.site.app import app

POLL = 0.1
"""Seconds between two looks for work."""

ACQUIRE = frozenset({"/flwr.proto.Runtime/AcquireTask"})


class Quick:
    """The clock that the SuperNode's loop waits on: its three seconds between looks are ``POLL``."""

    time, monotonic = staticmethod(time.time), staticmethod(time.monotonic)

    @staticmethod
    def sleep(seconds: float) -> None:
        """Wait, but not for long."""
        time.sleep(min(seconds, POLL))


def main() -> None:
    """Run the SuperNode; its arguments are those of ``flower-supernode``."""
    known, _ = _arguments().parse_known_args()
    secret = secrets.token_bytes(32)
    with tempfile.TemporaryDirectory(prefix="fedloom-node-") as folder:  # its owner's alone
        file = Path(folder) / "secret"
        file.write_bytes(secret)
        sys.argv += ["--isolation", "process", "--superexec-auth-secret-file", str(file)]
        loop.time = Quick  # type: ignore[assignment, attr-defined]
        threading.Thread(target=take_tasks, args=(f"{known.host}:{known.port}", secret), daemon=True).start()
        flower_supernode()


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", default="9094")
    return parser


def take_tasks(address: str, secret: bytes) -> None:
    """Take the SuperNode's tasks one after the other, for as long as the process lives."""
    client = _client(address, SuperExecAuthHttpInterceptor(master_secret=secret, protected_methods=ACQUIRE))
    while True:
        try:
            found = client.AcquireTask(AcquireTaskRequest(supported_task_types=[TaskType.CLIENT_APP]))
            if found.HasField("task") and found.token:
                do_task(_client(address, RuntimeTokenHttpInterceptor(found.token)))
                continue
        except Exception as error:
            print(f"fedloom: task: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            if os.getppid() == 1 and not threading.main_thread().is_alive():
                return
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
            status, details = SubStatus.FAILED, f"{type(error).__name__}: {error}"
            reply = Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, details), reply_to=message)
        runtime.push_message(client, reply, context)
        runtime.push_task_output(client, context, status, details)
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


if __name__ == "__main__":
    main()
