"""A Flower engine from outside: submit the experiment as a Flower app, follow its folder, resume it if need be."""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedloom.core.config import Experiment
from fedloom.core.errors import FedloomError
from fedloom.deploy import app
from fedloom.deploy.loopback import READY, Consortium, Kill
from fedloom.deploy.superlink import Flower, SuperLink
from fedloom.engines._flower.notes import MEND, Note
from fedloom.federation import rows
from fedloom.federation.record import RunFolder
from fedloom.federation.round import Stopped
from fedloom.federation.setup import Setup
from fedloom.federation.watch import Watch

POLL = 0.1
AWAY = "unavailable"
"""What Flower's command says of a SuperLink that it cannot reach."""

END = 3.0
"""Seconds that a ServerApp has to see that its SuperLink is gone."""

ASK = 10.0
"""Seconds between two questions to Flower about a run that says nothing."""

ATTEMPTS = 3
"""How often a run is submitted that comes no further."""


def submit(
    experiment: Experiment, out: Path, watch: Watch, stop: Callable[[], bool], kills: Sequence[Kill] = ()
) -> dict[str, Any]:
    """Run an experiment as a Flower app, whose ServerApp writes the run folder ``out``; returns its result.

    Without ``engine.superlink``, everything it needs is started on this machine and ended afterwards: a SuperLink, and
    for engine ``flower`` also every site, with certificates and keys. A run that ends without a result is submitted
    again, and goes on from its last round.

    Raises:
        FedloomError: the run gave up; what was finished is saved.
        Stopped: ``stop()`` became true.
    """
    out = out.absolute()
    machines = out.with_name(f"{out.name}.machines")
    with RunFolder(machines).alone(), _flower(experiment, machines, watch, stop) as place:
        app.write(experiment, out, machines / "app")
        result = Follower(experiment, out, place, watch, stop, list(kills)).run(machines / "app")
    shutil.rmtree(machines)
    Note(out).remove()
    return result


@dataclass
class Place:
    """Where the app runs: Flower's command for it, a simulation's settings, and what was started on this machine."""

    flwr: Flower
    federation: str = ""
    superlink: SuperLink | None = None
    consortium: Consortium | None = None


@contextmanager
def _flower(experiment: Experiment, folder: Path, watch: Watch, stop: Callable[[], bool]) -> Iterator[Place]:
    """What the experiment needs of Flower; ended afterwards where it was started here."""
    table = experiment.engine
    if table.superlink:
        yield Place(Flower(table.superlink))
        return
    watch.stage("starting Flower")
    names = Setup(experiment).names
    if table.name == "flower":
        with Consortium(folder, experiment, names, stop) as consortium:
            yield Place(consortium.superlink.flwr, "", consortium.superlink, consortium)
        return
    superlink = SuperLink(folder / "superlink", None)
    superlink.process.start()
    try:
        superlink.process.wait_ready(READY, stop)
        told = f"num-supernodes={len(names)} client-resources-num-cpus=1 init-args-num-cpus={table.workers}"
        yield Place(superlink.flwr, told, superlink)
    finally:
        superlink.process.end()


@dataclass
class Follower:
    """Watches a run from its folder; ``kills`` are faults that are still to come."""

    experiment: Experiment
    out: Path
    place: Place
    watch: Watch
    stop: Callable[[], bool]
    kills: list[Kill]
    shown: int = 0
    _asked: float = field(default_factory=time.monotonic)

    @property
    def note(self) -> Note:
        """What the run's server says of itself."""
        return Note(self.out)

    def run(self, folder: Path) -> dict[str, Any]:
        """Submit the app in ``folder`` until the run has a result.

        Raises:
            FedloomError: another server writes the run folder, or the run gave up.
            Stopped: the user asked for it.
        """
        if self.place.superlink:
            self._end_server(0)
        elif self.note.held():
            raise FedloomError(f"{self.out}: a server of this run is at work. Fix: {MEND}")
        tries = 0
        while tries < ATTEMPTS:
            before = self.shown
            self.note.clear()
            self.watch.stage("submitted")
            run = self._submitted(folder)
            result = self._until_it_ends(run)
            if result is not None:
                for kill in self.kills:
                    told = f"{kill} was not killed: no site was seen at work from round {kill.round} on"
                    self.watch.left_out(str(kill), told)
                return result
            tries = tries + 1 if self.shown == before else 0
            self._restart()
        raise FedloomError(self._why(f"The run ended {ATTEMPTS} times without coming further."))

    def _submitted(self, folder: Path) -> str:
        """The id of a new run; a SuperLink that is away is waited for.

        Raises:
            Stopped: the user asked for it.
        """
        until = time.monotonic() + READY
        while True:
            try:
                return self.place.flwr.submit(folder, self.place.federation)
            except FedloomError as error:
                if AWAY not in str(error) or time.monotonic() > until:
                    raise
            if self.stop():
                raise Stopped
            time.sleep(1)

    def _until_it_ends(self, run: str) -> dict[str, Any] | None:
        """The result; ``None``: the run ended without one and can be submitted again.

        Raises:
            FedloomError: it gave up.
            Stopped: the user asked for it.
        """
        self._asked = time.monotonic()
        while True:
            self._tell()
            found = RunFolder(self.out).finished(self.experiment.rounds)
            if found is not None:
                self._wait_for_the_server()
                return found
            if self.stop():
                self._end(run)
                raise Stopped
            process, error = self.note.read()
            if error:
                raise FedloomError(error)
            if (process and not self.note.held()) or not self._flower_runs(run):
                return RunFolder(self.out).finished(self.experiment.rounds)
            self._faults(process)
            if self.place.consortium:
                for name in self.place.consortium.supervise():
                    self.watch.stage(f"{name} is started again")
            time.sleep(POLL)

    def _flower_runs(self, run: str) -> bool:
        """Whether Flower still has the run; asked now and then, since asking costs a process."""
        superlink = self.place.superlink
        if superlink and not superlink.process.alive:
            return False
        waits = bool(self.kills) and self.note.held()  # for the moment of a fault, which it must not miss
        if waits or time.monotonic() - self._asked < ASK:
            return True
        self._asked = time.monotonic()
        try:
            status, details = self.place.flwr.status(run)
        except FedloomError as error:
            if AWAY in str(error):  # it starts again, or the network does; then it knows what became of the run
                return True
            raise
        if status == "finished:completed" and not self.out.exists():
            raise FedloomError(f"The run is finished; its folder {self.out} is on the SuperLink's machine.")
        if status.startswith("finished") and not self.note.file.exists():
            raise FedloomError(self._why(f"Flower could not start the run: {details}."))
        return not status.startswith("finished")

    def _faults(self, process: int) -> None:
        """Let the faults happen whose round is under way, or was over too soon, while a site works."""
        consortium, now = self.place.consortium, self.shown + 1
        for kill in [kill for kill in self.kills if consortium and kill.round <= now]:
            assert consortium
            if consortium.busy(kill, now):
                self.kills.remove(kill)
                self.watch.left_out(str(kill), f"round {now}: {kill} is killed")
                if kill.part == "server":
                    os.kill(process, signal.SIGKILL)
                else:
                    consortium.kill(kill)

    def _restart(self) -> None:
        """Have Flower there again, and the old server gone, before the run is submitted again."""
        superlink = self.place.superlink
        self._end_server(END if superlink else READY)
        if superlink and not superlink.process.alive:
            superlink.process.end()
            superlink.process.start()
        if superlink:
            superlink.process.wait_ready(READY, self.stop)
        self.watch.stage("the run goes on from its last round")

    def _end_server(self, seconds: float) -> None:
        """Wait so long for the old server to end; one of this machine's own SuperLink is then killed: it may not see
        that its SuperLink is gone, and two servers must not write one folder."""
        until = time.monotonic() + seconds
        while self.note.held() and time.monotonic() < until:
            time.sleep(POLL)
        process, _ = self.note.read()
        if self.place.superlink and process and self.note.held():
            os.kill(process, signal.SIGKILL)
            while self.note.held():
                time.sleep(POLL)

    def _wait_for_the_server(self) -> None:
        """Let the ServerApp end by itself: Flower then knows the run as completed."""
        until = time.monotonic() + (1 if self.place.superlink else ASK)
        while self.note.held() and time.monotonic() < until:
            time.sleep(POLL)

    def _end(self, run: str) -> None:
        with suppress(FedloomError):
            self.place.flwr.stop(run)

    def _tell(self) -> None:
        """Show what the run folder has that was not shown yet."""
        done = _rows(self.out / rows.ROUNDS)
        if len(done) < self.shown:  # a resumed run does its last rounds again
            self.shown = len(done)
        if len(done) == self.shown:
            return
        turns = _rows(self.out / rows.CLIENTS)
        for row in done[self.shown :]:
            mine = [turn for turn in turns if turn["round"] == row["round"]]
            self.watch.round(row["round"], self.experiment.rounds, len(mine))
            for turn in mine:
                if turn["error"]:
                    self.watch.left_out(turn["client"], turn["error"])
                else:
                    self.watch.reply(turn["client"], turn["loss"], turn.get("bytes_up", 0), turn.get("bytes_down", 0))
            if row["score"] is not None:
                self.watch.scored(row["round"], row["score"], row.get("unparsed"))
        self.shown = len(done)

    def _why(self, told: str) -> str:
        superlink = self.place.superlink
        return f"{told} The end of {superlink.process.log}:\n{superlink.process.tail()}" if superlink else told


def _rows(file: Path) -> list[dict[str, Any]]:
    """The whole lines of a file that another process writes, up to one that is broken: that process says so."""
    found: list[dict[str, Any]] = []
    for line in rows.content(file).split(b"\n")[:-1]:
        try:
            rows.KINDS[file.name].validate_json(line)
        except ValueError:
            break
        found.append(json.loads(line))
    return found
