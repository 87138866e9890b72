"""Where a site's letters are answered: model and data loaded once, work done by the one training loop.

desk.answer(letter) -> letter         hello: who is here, and what it holds; update, train, evaluate: a client's turn
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

from fedloom import __version__
from fedloom.core import config, limits, memory, resolve
from fedloom.core.errors import FedloomError
from fedloom.core.files import on_disk
from fedloom.federation.check import check_experiment
from fedloom.federation.client import Trainer
from fedloom.federation.inputs import model_of, told_of_data
from fedloom.federation.kept import Kept
from fedloom.federation.middle import Access
from fedloom.federation.setup import Setup
from fedloom.site.ledger import Ledger
from fedloom.site.letter import Letter
from fedloom.site.policy import Policy, Refusal, pinned, teacher_of
from fedloom.site.work import Work


@dataclass
class Desk:
    """Answers letters, one after the other. ``site``: the name it answers to ("": any, where sites are only simulated).

    ``only``: TOML of the one experiment that it takes part in ("": any that its rules allow). ``tell``: its own log.
    ``model``, ``data``: where they are here, whatever a server calls them ("": as the server says, and no folder).
    ``state``: the folder for what the site keeps, run by run. ``loads``: models loaded so far.
    """

    state: Path
    site: str = ""
    policy: Policy = field(default_factory=Policy)
    model: str = ""
    data: str = ""
    cache: Path | None = None
    only: str = ""
    tell: Callable[[str], None] = lambda text: None
    loads: int = 0
    _setup: Setup | None = None
    _asked: str = ""
    _data: str = ""
    _trainers: dict[str, Trainer] = field(default_factory=dict)

    def answer(self, letter: Letter) -> Letter:
        """The answer; whatever goes wrong is its ``error``."""
        begun, work = time.perf_counter(), Work(self.policy)
        try:
            with resolve.guarded(self.policy.guard), self._metered(work):
                answer = self._answer(letter)
            if work.refused:  # the loop, which knows of no rules, told it as any other error
                raise work.refused
            return answer
        except Exception as error:
            told = self._told(letter, work.refused or error)
            return letter.answer(error=told, seconds=time.perf_counter() - begun)

    def _metered(self, work: Work) -> AbstractContextManager[None]:
        """Simulated clients are this machine's own user's, who may wait for them."""
        return limits.metered(work) if self.site else nullcontext()

    def _told(self, letter: Letter, error: Exception) -> str:
        """What a server is told of an error: a refusal in full, of any other that there was one."""
        reason = str(error) if isinstance(error, FedloomError) else f"{type(error).__name__}: {error}"
        if not self.site:
            return reason
        if not isinstance(error, Refusal):
            self.tell(reason)
            reason = f"{letter.kind}, round {letter.round}: it failed ({type(error).__name__}); its own log says why."
        return f"site {self.site!r}: {reason}"

    def _answer(self, letter: Letter) -> Letter:
        if letter.kind not in ("hello", "train", "evaluate", "update"):
            raise Refusal(f"{letter.kind!r} is nothing that a server asks.")
        if not letter.run.isalnum():
            raise Refusal(f"run {letter.run[:40]!r}: expected letters and digits.")
        if not letter.nonce.isprintable() or " " in letter.nonce:
            raise Refusal(f"nonce {letter.nonce!r}: expected one word.")
        trainer = self._trainer(letter)
        setup = trainer.setup
        if letter.kind == "hello":
            return letter.answer(facts=self._about(setup))
        if letter.model != (here := setup.backbone.fingerprint):
            told = f"its model has the hash {here[:12]}, the server's has {letter.model[:12]}"
            raise Refusal(f"{told}: other weights, or another configuration or processor. Give both the same files.")
        if (self.site and letter.client != self.site) or letter.client not in setup.clients:
            raise Refusal(f"a message for client {letter.client!r} is not for this site.")
        self._check_work(setup, setup.clients[letter.client].examples)
        self._check_asked(letter, setup)
        if self.site:
            self._ledger.begin(letter, setup.experiment.rounds)
        reply = trainer.run(letter.job)
        error = self._told(letter, FedloomError(reply.error)) if reply.error else ""
        return letter.reply(replace(reply, error=error))

    def _check_asked(self, letter: Letter, setup: Setup) -> None:
        """Refuse what this experiment does not ask for, and scores that too few examples decide.

        Raises:
            Refusal: a round that it does not have, or a kind of work.
        """
        asked = setup.experiment
        first, last = {"train": (1, asked.rounds), "evaluate": (0, asked.rounds)}.get(letter.kind, (0, 0))
        if not first <= letter.round <= last:
            raise Refusal(f"{letter.kind!r} in round {letter.round}: the experiment has {asked.rounds} rounds.")
        if letter.kind == "update" and asked.adapter.init != "update":
            raise Refusal(f"a first update is asked for, and adapter.init = {asked.adapter.init!r} needs none.")
        if letter.kind == "evaluate":
            if self.policy.metrics == "none":
                raise Refusal("the site lets no metric leave: its site.toml says metrics = 'none'.")
            if self.site and asked.evaluation.where != "clients":
                raise Refusal("scores are asked for, and evaluation.where = 'server' has no site tell any.")
            self.policy.check_seen("scores over", len(setup.test_samples(letter.client)))

    def _about(self, setup: Setup) -> dict[str, str | int | float]:
        """What the site says about itself."""
        own = {name: number for number, name in enumerate(setup.partition.names)}.get(self.site)
        if own is None:
            raise Refusal("the experiment has no such client.")  # whose names may be groups of the site's own examples
        train, test = setup.partition.train[own], setup.partition.test[own]
        self._check_work(setup, len(train))
        self._data = self._data or told_of_data(setup)
        return {
            "site": self.site,
            "train": len(train),
            "test": len(test),
            "data": self._data,
            **model_of(setup),
            "fedloom": __version__,
            "loads": self.loads,
            "peak_memory_bytes": memory.peak(),
        }

    def _check_work(self, setup: Setup, examples: int) -> None:
        self.policy.check_work(setup.experiment, examples, passes=2 if setup.method.local.personal else 1)

    def _trainer(self, letter: Letter) -> Trainer:
        setup = self.prepare(letter.experiment)
        if letter.run not in self._trainers:
            kept = Kept(self._ledger.run(letter.run) / "kept" if self.site else self.state)
            while len(self._trainers) >= self.policy.keep_runs:
                del self._trainers[next(iter(self._trainers))]
            self._trainers[letter.run] = Trainer(setup, kept, self.policy.metrics, self.policy.min_examples)
            if self.site:
                self._ledger.prune(letter.run)
        return self._trainers[letter.run]

    def prepare(self, toml: str) -> Setup:
        """The parts of an experiment, with the model in memory; those of the one before are let go.

        Raises:
            FedloomError: the site does not take part in it, or it cannot be built here.
        """
        if self._setup is None or self._asked != toml:
            if self.only and toml != self.only:
                raise Refusal("the site takes part in one experiment only, and this is another (--only).")
            asked = self._parsed(toml)
            if self.site:
                self.policy.check(asked)
            here = self._here(asked)
            check_experiment(here)
            if ":" in here.model.name and not on_disk(here.model.name):  # before another model is let go for it
                self.policy.guard(here.model.name)
            self.policy.check_local(here.method.name, config.build(here, "method").local)
            setup = Setup(here, self.cache, site=self.site, host=self._host(here))
            self._share(setup)
            self._setup, self._asked, self._data, self._trainers = setup, toml, "", {}
        return self._setup

    def _parsed(self, toml: str) -> config.Experiment:
        try:
            return config.parse(toml, "the server's experiment")
        except FedloomError as error:  # it says nothing but what the server wrote
            raise Refusal(str(error)) from None

    def _share(self, setup: Setup) -> None:
        """Have the model in memory: that of the experiment before where nothing about it differs."""
        setup.use_threads()
        if self._setup and _loaded(self._setup) == _loaded(setup):
            same = ("loaded", "public", "data", "middle", "backbone", "drawn")
            setup.__dict__.update({part: getattr(self._setup, part) for part in same})
            return
        self.close()
        self._setup, self._trainers = None, {}
        _ = setup.initial, setup.data
        if self.site:
            setup.examine()
        self.loads += 1

    def close(self) -> None:
        """Let go of what a language model's host holds for this site."""
        if self._setup and self._setup.experiment.split.wire != "none":
            self._setup.middle.close()

    def _here(self, asked: config.Experiment) -> config.Experiment:
        """The experiment with this site's own places in it: nothing that a server says is read as a path here."""
        own = pinned(self.model) if self.model else self.policy.place(asked.model)
        name, revision = own or (asked.model.name, asked.model.revision)
        model = asked.model.model_copy(update={"name": name, "revision": revision})
        changed: dict[str, object] = {"model": model}
        if (teacher := teacher_of(asked)) and (there := self.policy.place(teacher)):
            options = asked.objective.options | dict(zip(("teacher", "revision"), there, strict=True))
            changed["objective"] = asked.objective.model_copy(update={"options": options})
        if self.site:
            changed["data"] = asked.data.model_copy(update={"path": self.data})
            changed["split"] = asked.split.model_copy(update={"host": "", "root_certificates": ""})
        return asked.model_copy(update=changed)

    def _host(self, experiment: config.Experiment) -> Access | None:
        """How the language model's host is reached, where the experiment splits it off and this is a real site.

        Raises:
            Refusal: the site knows no host.
        """
        if not self.site or experiment.split.wire == "none":
            return None
        access = self.policy.host.access()
        if access is None:
            raise Refusal(
                f"split.wire = {experiment.split.wire!r}: the language model is elsewhere, and the site's own rules "
                "have no [host] with an address."
            )
        return access

    @property
    def _ledger(self) -> Ledger:
        return Ledger(self.state, self.policy)


def _loaded(setup: Setup) -> tuple[object, ...]:
    """What decides model, start adapter and data."""
    given = setup.experiment
    placed = given.task, given.data, given.scenario, given.modality, given.evaluation
    model = given.model, given.adapter, given.objective, given.client.augment, given.split, setup.host
    return *model, given.seed, *setup.forms, *placed
