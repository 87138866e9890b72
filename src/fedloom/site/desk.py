"""Where a site's letters are answered: model and data loaded once, work done by the one training loop.

desk.answer(letter) -> letter         hello: who is here, and what it holds; train, evaluate: a client's turn
"""

import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

from fedloom import __version__
from fedloom.core import config, memory
from fedloom.core.contracts import Job
from fedloom.core.errors import FedloomError
from fedloom.core.files import write_atomic
from fedloom.federation.client import Trainer
from fedloom.federation.kept import Kept
from fedloom.federation.result import content_fingerprint, data_fingerprint
from fedloom.federation.setup import Setup
from fedloom.site.letter import Letter
from fedloom.site.policy import Policy


@dataclass
class Desk:
    """Answers letters, one after the other. ``site``: the name it answers to ("": any, where sites are only simulated).

    ``model``, ``data``: where they are here, whatever a server calls them ("": as the server says, and no folder).
    ``state``: the folder for what the site keeps, run by run. ``loads``: models loaded so far.
    """

    state: Path
    site: str = ""
    policy: Policy = field(default_factory=Policy)
    model: str = ""
    data: str = ""
    cache: Path | None = None
    loads: int = 0
    _setup: Setup | None = None
    _asked: str = ""
    _trainers: dict[str, Trainer] = field(default_factory=dict)

    def answer(self, letter: Letter) -> Letter:
        """The answer; whatever goes wrong is its ``error``."""
        begun = time.perf_counter()
        try:
            return self._answer(letter)
        except Exception as error:
            reason = str(error) if isinstance(error, FedloomError) else f"{type(error).__name__}: {error}"
            where = f"site {self.site!r}: " if self.site else ""
            return letter.answer(error=where + reason, seconds=time.perf_counter() - begun)

    def _answer(self, letter: Letter) -> Letter:
        if letter.kind not in ("hello", "train", "evaluate"):
            raise FedloomError(f"{letter.kind!r} is nothing that a server asks.")
        if not letter.run.isalnum():
            raise FedloomError(f"run {letter.run[:40]!r}: expected letters and digits.")
        trainer = self._trainer(letter)
        setup = trainer.setup
        if letter.kind == "hello":
            return letter.answer(facts=self._about(setup))
        if letter.model != (here := setup.backbone.fingerprint):
            raise FedloomError(
                f"its model {setup.experiment.model.name!r} has weights {here[:12]}, the server's has "
                f"{letter.model[:12]}. Mend: give both the same checkpoint."
            )
        if (self.site and letter.client != self.site) or letter.client not in setup.clients:
            raise FedloomError(f"a message for client {letter.client!r} is not for this site.")
        self.policy.check_work(setup.experiment, setup.clients[letter.client].examples)
        self._not_again(letter)
        if letter.kind == "train" and self.site:
            trainer.kept.keep_until(letter.client, letter.counted)
        reply = trainer.run(Job(letter.round, letter.client, letter.parcel, letter.kind, letter.counted))
        self._note(letter)
        return letter.answer(reply.parcel, reply.error, reply.seconds)

    def _about(self, setup: Setup) -> dict[str, str | int | float]:
        """What the site says about itself."""
        own = {name: number for number, name in enumerate(setup.partition.names)}.get(self.site)
        if own is None:
            raise FedloomError(f"the experiment has no such client; it has {', '.join(setup.partition.names)}.")
        train, test = setup.partition.train[own], setup.partition.test[own]
        self.policy.check_work(setup.experiment, len(train))
        data = f"{data_fingerprint(setup)}/{content_fingerprint(setup)}"
        return {
            "site": self.site,
            "train": len(train),
            "test": len(test),
            "data": data,
            "model": setup.backbone.fingerprint,
            "fedloom": __version__,
            "loads": self.loads,
            "peak_memory_bytes": memory.peak(),
        }

    def _trainer(self, letter: Letter) -> Trainer:
        setup = self.prepare(letter.experiment)
        if letter.run not in self._trainers:
            kept = Kept(self._run(letter.run) / "kept" if self.site else self.state)
            self._trainers[letter.run] = Trainer(setup, kept, self.policy.metrics)
            self._prune()
        return self._trainers[letter.run]

    def prepare(self, toml: str) -> Setup:
        """The parts of an experiment, with the model in memory; those of the one before are let go.

        Raises:
            FedloomError: the site does not take part in it, or it cannot be built here.
        """
        if self._setup is None or self._asked != toml:
            asked = config.parse(toml, "the server's experiment")
            self.policy.check(asked)
            here = self._here(asked)
            config.check(here)
            setup = Setup(here, self.cache, site=self.site)
            self._share(setup)
            self._setup, self._asked, self._trainers = setup, toml, {}
        return self._setup

    def _share(self, setup: Setup) -> None:
        """Have the model in memory: that of the experiment before where nothing about it differs."""
        setup.use_threads()
        if self._setup and _loaded(self._setup) == _loaded(setup):
            same = ("data", "backbone", "initial")
            setup.__dict__.update({part: getattr(self._setup, part) for part in same})
            return
        self._setup, self._trainers = None, {}
        _ = setup.initial, setup.data
        self.loads += 1

    def _here(self, asked: config.Experiment) -> config.Experiment:
        """The experiment with this site's own places in it: nothing that a server says is read as a path here."""
        name = self.model or self.policy.models.get(asked.model.name, asked.model.name)
        model = asked.model.model_copy(update={"name": name})
        changed: dict[str, object] = {"model": model}
        if self.site:
            changed["data"] = asked.data.model_copy(update={"path": self.data})
        return asked.model_copy(update=changed)

    def _run(self, run: str) -> Path:
        return self.state / "runs" / run

    def _not_again(self, letter: Letter) -> None:
        """Refuse a letter that was answered before, unless it is the very last: that answer may have been lost."""
        seen = self._seen(letter.run)
        if letter.nonce in seen[:-1]:
            raise FedloomError(f"the message {letter.nonce[:8]} of round {letter.round} was answered before: a replay.")

    def _note(self, letter: Letter) -> None:
        if not self.site:
            return
        seen = [each for each in self._seen(letter.run) if each != letter.nonce]
        write_atomic(self._run(letter.run) / "answered", "\n".join([*seen, letter.nonce]).encode())

    def _seen(self, run: str) -> list[str]:
        file = self._run(run) / "answered"
        return file.read_text().split("\n") if self.site and file.exists() else []

    def _prune(self) -> None:
        """Forget the runs that are longest past, beyond those that the site keeps."""
        folder = self.state / "runs"
        if not self.site or not folder.is_dir():
            return
        runs = sorted(folder.iterdir(), key=lambda each: each.stat().st_mtime)
        for old in runs[: -self.policy.keep_runs]:
            shutil.rmtree(old, ignore_errors=True)


def _loaded(setup: Setup) -> tuple[object, ...]:
    """What decides model, start adapter and data."""
    given = setup.experiment
    return given.model, given.adapter, given.seed, given.task, given.data, given.scenario, given.evaluation
