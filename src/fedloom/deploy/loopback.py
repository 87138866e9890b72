"""A whole consortium on this machine: real processes that talk over loopback, as they would between hospitals.

FOLDER/certificates/  keys/<site>  superlink/  host/{tokens.toml, host.log}
       sites/<site>/{site.toml, host.token, state/, worker.log, supernode.log}
"""

import re
import socket
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import tomli_w

from fedloom.core import config
from fedloom.core.config import Experiment
from fedloom.core.errors import FedloomError
from fedloom.core.files import SECRET, write_atomic
from fedloom.deploy import certificates
from fedloom.deploy.process import Process, environment, free_port
from fedloom.deploy.superlink import SuperLink
from fedloom.models.labels import check_plain
from fedloom.site import letter, link
from fedloom.site.letter import Letter
from fedloom.site.policy import OWN
from fedloom.site.worker import SOCKET
from fedloom.split import identity

KILL = re.compile(r"(?:(worker|supernode):(\d+)|(superlink|server|host))@(\d+)")
CLOSE = 3.0
"""Seconds that a process has to end by itself."""

READY = 180.0
"""Seconds that a process has until it does its work."""


@dataclass(frozen=True)
class Kill:
    """A fault to try: ``part`` (``worker``, ``supernode``, ``superlink``, ``server`` or ``host``) ends in round
    ``round``."""

    part: str
    site: int
    round: int

    @classmethod
    def parse(cls, text: str, sites: int) -> "Kill":
        """``worker:1@2``, ``supernode:0@1``, ``superlink@2``, ``server@1``, ``host@2``: the part, its site, the round.

        Raises:
            FedloomError: it is none of these, or there is no such site.
        """
        found = KILL.fullmatch(text)
        if not found:
            raise FedloomError(
                f"--kill {text}: expected worker:SITE@ROUND, supernode:SITE@ROUND, superlink@ROUND, server@ROUND or "
                "host@ROUND."
            )
        part, site, alone, round = found.groups()
        if site and int(site) >= sites:
            raise FedloomError(f"--kill {text}: there are sites 0 to {sites - 1}.")
        return cls(part or alone, int(site or 0), int(round))

    def __str__(self) -> str:
        where = f" of site {self.site}" if self.part in ("worker", "supernode") else ""
        return f"{self.part}{where}"


@dataclass
class Site:
    """One site: its worker and its SuperNode."""

    name: str
    folder: Path
    worker: Process
    node: Process

    @property
    def socket(self) -> Path:
        """Its worker's socket."""
        return self.folder / "state" / SOCKET

    def doing(self) -> str:
        """What its worker does now; empty where it does not answer."""
        try:
            answer = link.ask(self.socket, letter.pack(Letter("health")), timeout=5)
        except link.Gone:
            return ""
        return str(letter.unpack(answer).facts.get("doing", ""))


@dataclass
class Consortium:
    """A SuperLink with TLS, and a worker and a SuperNode with a key of its own for every site; a context manager.

    Where the experiment splits its model, the language model has a host, with TLS and a token for every site.
    ``stop``: becomes true where it is not to start any more. ``data``: the folder of a site's own data: ``data/SITE``
    where sites hold their own, else ``data`` itself.
    """

    folder: Path
    experiment: Experiment
    names: Sequence[str]
    stop: Callable[[], bool] = lambda: False
    sites: list[Site] = field(default_factory=list)
    _superlink: SuperLink | None = None
    _host: Process | None = None

    def __enter__(self) -> "Consortium":
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def superlink(self) -> SuperLink:
        """The SuperLink, once there is one."""
        assert self._superlink is not None
        return self._superlink

    def _start(self) -> None:
        authority, keys = self.folder / "certificates", self.folder / "keys"
        if not (authority / "server.key").exists():
            certificates.authority(authority, ["127.0.0.1", "localhost"])
        for name in self.names:
            if not (keys / name).exists():
                certificates.site_key(keys, name)
        write_atomic(self.folder / "experiment.toml", config.dump(self.experiment).encode())
        self._superlink = SuperLink(self.folder / "superlink", authority)
        self.superlink.process.start()
        if self.experiment.split.wire != "none":
            self._host = Host(self.folder, self.experiment).process(self.names)
            self._host.start()
        self.sites = [self._site(name) for name in self.names]
        for site in self.sites:
            site.worker.start()
        self.superlink.process.wait_ready(READY, self.stop)
        if self._host:
            self._host.wait_ready(READY, self.stop)
        with ThreadPoolExecutor() as pool:  # a process each
            register = self.superlink.flwr.register
            list(pool.map(lambda name: register(keys / f"{name}.pub", name), self.names))
        for site in self.sites:
            site.node.start()
        for site in self.sites:
            site.worker.wait_ready(READY, self.stop)

    def _site(self, name: str) -> Site:
        """A site as its own people would set it up."""
        folder = self.folder / "sites" / name
        folder.mkdir(parents=True, exist_ok=True)
        rules = folder / "site.toml"
        if not rules.exists():
            host = {"host": Host(self.folder, self.experiment).rules(name)} if self._host else {}
            rules.write_text(tomli_w.dumps(OWN | _models(self.experiment) | host), encoding="utf-8")
        state = folder / "state"
        python, env = sys.executable, environment(folder / "flower")
        worker = [python, "-m", "fedloom.cli", "site", "start", "--name", name]
        worker += ["--state", str(state), "--rules", str(rules), "--data", str(self._data(name))]
        worker += ["--for", str(self.folder / "experiment.toml")]
        node = [python, "-m", "fedloom.cli", "site", "node", "--name", name, "--state", str(state)]
        node += [
            "--superlink",
            self.superlink.address,
            "--port",
            str(free_port()),
            "--key",
            str(self.folder / "keys" / name),
        ]
        node += ["--root-certificates", str(self.folder / "certificates" / "ca.pem")]
        site = Site(
            name,
            folder,
            Process(f"the worker of {name}", worker, folder / "worker.log", env),
            Process(f"the SuperNode of {name}", node, folder / "supernode.log", env),
        )
        site.worker.ready = lambda: bool(site.doing())
        return site

    def _data(self, name: str) -> Path | str:
        path = self.experiment.data.path
        if not path:
            return ""
        own = Path(path) / name
        return own.absolute() if own.is_dir() else Path(path).absolute()

    @property
    def parts(self) -> list[Process]:
        """Every process."""
        superlink = [self._superlink.process] if self._superlink else []
        host = [self._host] if self._host else []
        return [*(part for site in self.sites for part in (site.node, site.worker)), *host, *superlink]

    def supervise(self) -> list[str]:
        """Start again what has ended at a site, or the host, as a service manager does; returns what that was."""
        ended = [part for part in self.parts if part is not self.superlink.process and not part.alive]
        for part in ended:
            part.end()
            part.start()
        return [part.name for part in ended]

    def busy(self, kill: Kill, round: int) -> bool:
        """Whether what is to be killed is in the middle of a round."""
        of_interest = [self.sites[kill.site]] if kill.part in ("worker", "supernode") else self.sites
        return any(site.doing().startswith(f"round {round}: train") for site in of_interest)

    def kill(self, kill: Kill) -> None:
        """End a part at once."""
        site = self.sites[kill.site]
        parts = {"worker": site.worker, "supernode": site.node, "superlink": self.superlink.process, "host": self._host}
        if part := parts[kill.part]:
            part.kill()

    def close(self) -> None:
        """End every process, the sites' first; nothing is left of them."""
        for part in self.parts:
            part.ask_to_end()
        for part in self.parts:
            part.end(CLOSE)


@dataclass(frozen=True)
class Host:
    """The language model's host of a consortium in ``folder``."""

    folder: Path
    experiment: Experiment

    @property
    def _own(self) -> Path:
        return self.folder / "host"

    @property
    def address(self) -> str:
        """Where it listens: the same port each time it is started."""
        note = self._own / "address"
        if not note.exists():
            write_atomic(note, f"127.0.0.1:{free_port()}".encode())
        return note.read_text()

    def process(self, sites: Sequence[str]) -> Process:
        """Its process, with a token drawn for every site."""
        tokens = self._own / "tokens.toml"
        for name in sites:
            file = self.folder / "sites" / name / "host.token"
            if not file.exists():
                write_atomic(file, identity.draw(tokens, name).encode(), SECRET)
        model = self.experiment.model
        name = str(Path(model.name).expanduser().absolute()) if Path(model.name).expanduser().is_dir() else model.name
        arguments = [sys.executable, "-m", "fedloom.cli", "host", "--model", name, "--dtype", model.dtype]
        arguments += ["--revision", model.revision] if model.revision else []
        arguments += ["--listen", self.address, "--certificates", str(self.folder / "certificates")]
        # One request a pass, in as many threads as the local engine has: the same bits, whatever comes together.
        arguments += ["--tokens", str(tokens), "--together", "1", "--threads", str(self.experiment.engine.threads)]
        made = Process(
            "the language model's host", arguments, self._own / "host.log", environment(self._own / "flower")
        )
        made.ready = self._listens
        return made

    def _listens(self) -> bool:
        host, _, port = self.address.rpartition(":")
        with suppress(OSError), socket.create_connection((host, int(port)), timeout=1):
            return True
        return False

    def rules(self, site: str) -> dict[str, str]:
        """What a site's own rules say of it."""
        return {
            "address": self.address,
            "root_certificates": str(self.folder / "certificates" / "ca.pem"),
            "token_file": str(self.folder / "sites" / site / "host.token"),
        }


def _models(experiment: Experiment) -> dict[str, dict[str, str]]:
    """The rule that allows the experiment's own model where it is a folder of this machine."""
    name = experiment.model.name
    check_plain(name)
    return {"models": {name: str(Path(name).expanduser().absolute())}} if Path(name).expanduser().is_dir() else {}
