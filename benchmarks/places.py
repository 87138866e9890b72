"""Where the cells of ``engines.py`` run: each starts what it needs, submits the rounds, and ends it again.

fedloom's engines run its whole loop around the parts in ``noted.py``; Flower alone runs the app in ``plain_flower/``.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fedloom.core import config
from fedloom.core.tables import Experiment
from fedloom.deploy import app
from fedloom.deploy.loopback import READY, Consortium, Site
from fedloom.deploy.process import FLOWER, Process, environment, free_port
from fedloom.deploy.superlink import CONNECTION, SuperLink
from fedloom.federation.setup import Setup
from fedloom.site import letter, link
from fedloom.site.letter import Letter

PLAIN = Path(__file__).parent / "plain_flower"
QUIET = ("FLWR_TELEMETRY_ENABLED", "FLWR_DISABLE_UPDATE_CHECK")
"""All that Flower alone is told: to talk to nobody."""

RUN = (
    "import sys; from pathlib import Path; from fedloom import engines; from fedloom.core import config; "
    "engines.run(config.load(sys.argv[1]), Path(sys.argv[2]))"
)


@dataclass(frozen=True)
class Cell:
    """One cell; ``clients`` of a deployment are its sites. ``notes``: where its processes say what they do."""

    engine: str
    clients: int
    megabytes: float
    rounds: int
    folder: Path

    @property
    def notes(self) -> Path:
        """The file of the notes."""
        return self.folder / "notes"

    @property
    def experiment(self) -> Experiment:
        """What fedloom's engines run: FedAvg of an idle backbone, every client in every round."""
        workers = _cores() if self.engine == "flower-simulation" else 1
        table = {
            "rounds": self.rounds,
            "model": {"name": "benchmarks.noted:idle"},
            "task": {"name": "benchmarks.noted:question", "clients": self.clients},
            "scenario": {"name": "iid", "clients": self.clients},
            "method": {"name": "benchmarks.noted:fedavg"},
            "engine": {"name": self.engine, "workers": workers, "threads": 1, "quorum": 1.0},
            "evaluation": {"every": 0},
        }
        return Experiment.model_validate(table)


@dataclass(frozen=True)
class Started:
    """What was started: processes that run until the cell is done, and fedloom's sites among them."""

    parts: list[Process]
    sites: list[Site] = field(default_factory=list)

    def loads(self) -> dict[str, int]:
        """How many models each site's worker has loaded, as it says itself."""
        question = letter.pack(Letter("health"))
        answers = {site.name: letter.unpack(link.ask(site.socket, question, timeout=10)) for site in self.sites}
        return {name: int(answer.facts["loads"]) for name, answer in answers.items()}


@contextmanager
def local(cell: Cell) -> Iterator[Started]:
    """The local engine, in a process of its own."""
    file = cell.folder / "experiment.toml"
    file.write_text(config.dump(cell.experiment), encoding="utf-8")
    command = [sys.executable, "-c", RUN, str(file), str(cell.folder / "run")]
    process = Process("the local engine", command, cell.folder / "local.log", dict(os.environ))
    with _running(process):
        yield Started([process])


@contextmanager
def simulation(cell: Cell) -> Iterator[Started]:
    """fedloom's app in Flower's simulation: as many actors as there are cores."""
    superlink = SuperLink(cell.folder / "superlink", None)
    app.write(cell.experiment, cell.folder / "run", cell.folder / "app")
    with _running(superlink.process):
        superlink.process.wait_ready(READY)
        superlink.flwr.submit(cell.folder / "app", _federation(cell))
        yield Started([superlink.process])


@contextmanager
def deployed(cell: Cell) -> Iterator[Started]:
    """fedloom's app at sites on loopback, as a rehearsal has them."""
    names = list(Setup(cell.experiment).clients)
    app.write(cell.experiment, cell.folder / "run", cell.folder / "app")
    with Consortium(cell.folder / "consortium", cell.experiment, names) as consortium:
        consortium.superlink.flwr.submit(cell.folder / "app")
        parts = [part for site in consortium.sites for part in (site.worker, site.node)]
        yield Started([consortium.superlink.process, *parts], consortium.sites)


@contextmanager
def plain_simulation(cell: Cell) -> Iterator[Started]:
    """Flower alone in its simulation: as many actors as there are cores."""
    superlink = _plain_superlink(cell, "--simulation")
    with _running(superlink.process):
        superlink.process.wait_ready(READY)
        superlink.flwr("run", str(PLAIN), CONNECTION, *_settings(cell), "--federation-config", _federation(cell))
        yield Started([superlink.process])


@contextmanager
def plain_deployed(cell: Cell) -> Iterator[Started]:
    """Flower alone on loopback: a SuperLink and SuperNodes without TLS and keys, as its defaults are."""
    superlink = _plain_superlink(cell)
    nodes = [_plain_node(cell, superlink, number) for number in range(cell.clients)]
    with ExitStack() as stack:
        stack.enter_context(_running(superlink.process))
        superlink.process.wait_ready(READY)
        for node in nodes:
            stack.enter_context(_running(node))
        superlink.flwr("run", str(PLAIN), CONNECTION, *_settings(cell))
        yield Started([superlink.process, *nodes])


PLACES: dict[str, Callable[[Cell], AbstractContextManager[Started]]] = {
    "local": local,
    "flower-simulation": simulation,
    "plain-flower-simulation": plain_simulation,
    "flower": deployed,
    "plain-flower": plain_deployed,
}
"""By the names of fedloom's engines; ``plain-`` is Flower without fedloom."""


@contextmanager
def _running(process: Process) -> Iterator[None]:
    process.start()
    try:
        yield
    finally:
        process.end(5)


def _plain_superlink(cell: Cell, *more: str) -> SuperLink:
    superlink = SuperLink(cell.folder / "superlink", None)
    command = [_script("flower-superlink"), "--port", str(superlink.port), "--insecure", *more]
    superlink.process.arguments = [*command, "--disable-runtime-dependency-installation"]
    superlink.process.env = _plain(superlink.process.env)
    return superlink


def _plain_node(cell: Cell, superlink: SuperLink, number: int) -> Process:
    command = [_script("flower-supernode"), "--insecure"]
    command += ["--superlink", superlink.address, "--port", str(free_port())]
    command += ["--node-config", f"partition-id={number} num-partitions={cell.clients}"]
    home = cell.folder / f"node-{number}"
    return Process(f"SuperNode {number}", command, home / "supernode.log", _plain(environment(home / "flower")))


def _plain(env: dict[str, str]) -> dict[str, str]:
    """Without the settings that fedloom gives Flower, which make it look for work more often."""
    return {key: value for key, value in env.items() if key not in FLOWER or key in QUIET}


def _settings(cell: Cell) -> list[str]:
    told = f'nodes={cell.clients} megabytes={cell.megabytes} rounds={cell.rounds} notes="{cell.notes}"'
    return ["--run-config", told]


def _federation(cell: Cell) -> str:
    return f"num-supernodes={cell.clients} client-resources-num-cpus=1 init-args-num-cpus={_cores()}"


def _cores() -> int:
    return os.cpu_count() or 1


def _script(name: str) -> str:
    return str(Path(sys.executable).with_name(name))
