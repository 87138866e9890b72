"""A SuperLink on this machine, and Flower's own command to talk to one."""

import json
import os
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import tomli_w

from fedloom.core.errors import FedloomError
from fedloom.deploy.process import Process, environment, free_port

CONNECTION = "fedloom"


@dataclass
class Flower:
    """Flower's command ``flwr``, talking to the SuperLink of a connection of ``home/config.toml`` (``None``: the
    user's own Flower folder)."""

    connection: str
    home: Path | None = None

    def __call__(self, *arguments: str) -> dict[str, Any]:
        """Run a command; returns what it prints as JSON.

        Raises:
            FedloomError: it failed; with what it printed.
        """
        own = os.environ.get("FLWR_HOME", "~/.flwr")
        env = environment(self.home or Path(own).expanduser())
        command = [str(Path(sys.executable).with_name("flwr")), *arguments, "--format", "json"]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", env=env, check=False)
        try:
            found: dict[str, Any] = json.loads(done.stdout)
        except ValueError:
            found = {}
        if done.returncode or not found.get("success"):
            told = found.get("error-message") or (done.stdout + done.stderr).strip()
            raise FedloomError(f"flwr {' '.join(arguments[:2])}: {told}")
        return found

    def register(self, key: Path, name: str) -> None:
        """Let the node with this public key in, under a name; it cannot say that it is another."""
        try:
            self("supernode", "register", str(key), self.connection, "--name", name)
        except FedloomError as error:
            if "already in use" not in str(error):
                raise

    def submit(self, app: Path, federation: str = "") -> str:
        """Start a run of the app folder; returns its id. ``federation``: Flower's settings of a simulation."""
        more = ["--federation-config", federation] if federation else []
        return str(self("run", str(app), self.connection, *more)["run-id"])

    def status(self, run: str) -> tuple[str, str]:
        """A run's status, such as ``running`` or ``finished:completed``, and its details."""
        found = self("list", self.connection, "--run-id", run)["runs"][0]
        return str(found["status"]), str(found["status-details"])

    def stop(self, run: str) -> None:
        """Stop a run."""
        self("stop", run, self.connection)


@dataclass
class SuperLink:
    """A SuperLink on loopback, with its database, log and Flower home in ``folder``.

    ``certificates``: the folder of ``deploy.certificates.authority``; nodes need a registered key. ``None``: it runs
    simulations of this machine alone, without TLS.
    """

    folder: Path
    certificates: Path | None

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        secure: dict[str, Any] = {"insecure": True}
        if self.certificates:
            secure = {"root-certificates": str(self.certificates / "ca.pem")}
        connections = {"superlink": {"default": CONNECTION, CONNECTION: {"address": self.address, **secure}}}
        self.home.mkdir(exist_ok=True)
        (self.home / "config.toml").write_text(tomli_w.dumps(connections), encoding="utf-8")

    @property
    def address(self) -> str:
        """Where it is reached."""
        return f"127.0.0.1:{self.port}"

    @property
    def home(self) -> Path:
        """Its own Flower folder."""
        return self.folder / "flower"

    @property
    def flwr(self) -> Flower:
        """Flower's command, talking to it."""
        return Flower(CONNECTION, self.home)

    @cached_property
    def process(self) -> Process:
        """Its process."""
        python, port = sys.executable, ["--port", str(self.port)]
        if self.certificates is None:
            command = [str(Path(python).with_name("flower-superlink")), *port, "--simulation", "--insecure"]
            command += ["--disable-runtime-dependency-installation"]
        else:
            command = [python, "-m", "fedloom.cli", "deploy", "superlink", *port]
            command += ["--certificates", str(self.certificates), "--database", str(self.folder / "state.db")]
        return Process("SuperLink", command, self.folder / "superlink.log", environment(self.home), self._healthy)

    def _healthy(self) -> bool:
        scheme, context = "http", None
        if self.certificates:
            scheme, context = "https", ssl.create_default_context(cafile=str(self.certificates / "ca.pem"))
        try:
            with urllib.request.urlopen(f"{scheme}://{self.address}/health", timeout=2, context=context) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False
