"""What a site decides for itself, whatever a server asks: its ``site.toml``."""

import os
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from fedloom.core import reading
from fedloom.core.config import Experiment
from fedloom.core.contracts import Local
from fedloom.core.errors import FedloomError
from fedloom.core.files import on_disk, read_text
from fedloom.core.table import Count, Limit, Table
from fedloom.core.tables import ModelTable
from fedloom.federation import begin, steps
from fedloom.federation.middle import Access
from fedloom.models.labels import leads_here

Patterns = list[str]
LOSS = "loss"
"""The word of a method that tells the server a client's loss, besides the mean of its steps'."""

UNBOUNDED = re.compile("max_(?!message).*")
"""Keys for which 0 is no limit."""

CHOICES = {
    "tasks": "task",
    "methods": "method",
    "adapters": "adapter",
    "objectives": "objective",
    "modalities": "modality",
}
"""Keys that list what a server may ask for, and the tables of an experiment that name it."""

BOUNDED = (
    ("max_threads", "engine.threads"),
    ("max_clients", "scenario.clients"),
    ("max_batch", "client.batch_size"),
    ("max_batch", "evaluation.batch_size"),
    ("max_new_tokens", "model.max_new_tokens"),
    ("max_cache_mb", "model.cache_mb"),
    ("max_cache_mb", "model.disk_cache_mb"),
    ("max_seconds", "split.deadline"),
    ("max_seconds", "split.patience"),
)
"""Keys of a site's rules, and those of an experiment that each of them bounds."""


class Refusal(FedloomError):
    """What a site tells a server in full. Other errors may name its examples and its files: they stay in its log."""


class HostTable(Table):
    """Where this site's language model is, if it is elsewhere: ``address`` is ``HOST:PORT``. ``token_file`` holds the
    site's token; or ``key`` and ``certificate`` are files of its own."""

    address: str = ""
    root_certificates: str = ""
    token_file: str = ""
    key: str = ""
    certificate: str = ""

    def access(self) -> Access | None:
        """How the host is reached; ``None`` where there is none.

        Raises:
            FedloomError: the token's file cannot be read.
        """
        if not self.address:
            return None
        try:
            token = read_text(Path(self.token_file)).strip() if self.token_file else ""
        except (OSError, UnicodeDecodeError) as error:
            raise FedloomError(f"site.toml: host.token_file: {error}.") from None
        return Access(self.address, self.root_certificates, token, self.key, self.certificate)


class Policy(Table):
    """A site's own rules. Lists hold names or patterns such as ``icons-qa/*``; ``max_`` 0: no limit.

    ``code``: functions ``package.module:function`` that a server may name, and so have called here: none by default.
    ``layer_patterns``: whether it may choose layers by regular expressions, some of which take for ever.
    ``max_rank``: of what is trained. ``max_steps``: optimiser steps a turn; ``max_seconds``: of work for one message;
    ``max_examples``: that a task may draw; ``max_batch``: in a step, and answered at once; ``max_cache_mb``: of frozen
    features in memory, and on disk; ``max_runs``: that a turn was ever given to.
    ``min_examples``: the fewest distinct examples that a turn may train on, and that an evaluation may tell a sum of.
    ``metrics``: whether its loss and scores leave as its own, only to be a part of sums, or not at all. ``reveals``:
    the words by which methods say what else they tell (``Local.reveals``) that may leave.
    ``models``: what a server calls a model (``owner/model``, or ``owner/model@revision``: that revision alone), and the
    folder or id that it is here; an objective's teacher is a model too. ``host``: where the language model is of an
    experiment that splits it off; without one, the site takes part in no such experiment.
    """

    tasks: Patterns = Field(default=["*"])
    methods: Patterns = Field(default=["*"])
    adapters: Patterns = Field(default=["*"])
    objectives: Patterns = Field(default=["*"])
    modalities: Patterns = Field(default=["*"])
    models: dict[str, str] = Field(default={})
    other_models: bool = True
    code: Patterns = Field(default=[])
    layer_patterns: bool = False
    max_rank: Limit = 256
    max_rounds: Limit = 1000
    max_runs: Limit = 0
    max_steps: Limit = 10_000
    max_seconds: Limit = 21_600
    max_threads: Limit = Field(default_factory=lambda: os.cpu_count() or 1)
    max_clients: Limit = 10_000
    max_examples: Limit = 100_000
    max_batch: Limit = 1024
    max_new_tokens: Limit = 1024
    max_cache_mb: Limit = 4096
    max_message_mb: Count = 2048
    min_examples: Limit = 0
    metrics: Literal["own", "sums", "none"] = "own"
    reveals: Patterns = Field(default=["*"])
    keep_runs: Annotated[int, Field(ge=1)] = 10
    host: HostTable = HostTable()

    @property
    def max_bytes(self) -> int:
        """Bytes of the largest message that is read."""
        return self.max_message_mb * 2**20

    def check(self, experiment: Experiment) -> None:
        """Refuse an experiment that this site does not take part in, before anything of it is built.

        Raises:
            FedloomError: what of it the site refuses, and the key of site.toml that says so.
        """
        adapter = experiment.adapter
        for key, table in CHOICES.items():
            chosen = experiment.method.names if table == "method" else [getattr(experiment, table).choice]
            chosen = [*chosen, "full"] if table == "adapter" and adapter.fully else chosen  # what full is, in part
            for name in chosen:
                if ":" not in name and not _matches(name, getattr(self, key)):
                    raise refusal(f"{table} {name!r}", f"{key} = {getattr(self, key)}")
        self._check_model(experiment.model, "model")
        if teacher := teacher_of(experiment):
            self._check_model(teacher, "objective.teacher")
        if adapter.names and not self.layer_patterns:
            raise refusal(f"adapter.names = {adapter.names}", "layer_patterns = false")
        if adapter.init == "update":
            self._check_told("adapter.init = 'update'", begin.REVEALS)
        ranks = adapter.ranks if adapter.ranks and adapter.rank_from == "list" else [adapter.rank]
        self._bound("max_rank", "rank", max(ranks))
        self._bound("max_rounds", "rounds", experiment.rounds)
        for key, name in BOUNDED:
            table, _, leaf = name.partition(".")
            if table != "split" or experiment.split.wire != "none":  # else no host is waited for
                self._bound(key, f"{name} =", getattr(getattr(experiment, table), leaf))

    def _check_model(self, model: ModelTable, key: str) -> None:
        if self.place(model):
            return
        name = model.name
        if not self.other_models:
            called = f"{name}@{model.revision}" if model.revision else name
            raise refusal(f"{key} {called!r}", f"models = {sorted(self.models)} and other_models = false")
        # With a ".." it could ask whether any folder is here.
        if name.startswith((".", "/", "~")) or ".." in Path(name).parts or leads_here(name):
            what = "the folder" if key == "model" else f"{key}, the folder"
            raise refusal(f"{what} {name!r}, which a server names", "models has no such name")

    def place(self, model: ModelTable) -> tuple[str, str] | None:
        """Name and revision here of what a server calls ``model``; ``None`` where the rules do not name it.

        A key with a revision goes before one without. An id that stands for itself keeps the server's revision.
        """
        for key in (f"{model.name}@{model.revision}", model.name):
            if key in self.models:
                name, revision = pinned(self.models[key])
                return name, model.revision if (name, revision) == (model.name, "") else revision
        return None

    def check_local(self, name: str, local: Local) -> None:
        """Refuse a method ``name`` that tells more of the site's examples than may leave.

        Raises:
            FedloomError: as ``check``.
        """
        for kind in local.reveals.values():
            self._check_told(f"method {name!r}", kind)

    def _check_told(self, who: str, kind: str) -> None:
        if kind == LOSS and self.metrics != "own":
            raise refusal(f"{who}, which tells the server its {kind}", f"metrics = {self.metrics!r}")
        if not _matches(kind, self.reveals):
            raise refusal(f"{who}, which reveals {kind!r}", f"reveals = {self.reveals}")

    def _bound(self, key: str, what: str, asked: float) -> None:
        if 0 < (most := getattr(self, key)) < asked:
            raise refusal(f"{what} {asked}", f"{key} = {most}")

    def guard(self, name: str) -> None:
        """Refuse a function of a server's choosing before it is imported.

        Raises:
            FedloomError: as ``check``.
        """
        if not _matches(name, self.code):
            raise refusal(f"code {name!r}", f"code = {self.code}")

    def check_work(self, experiment: Experiment, examples: int, passes: int = 1) -> None:
        """Refuse more work than the site gives, or work on too few examples. ``passes``: adapters that are trained.

        Raises:
            FedloomError: as ``check``.
        """
        self.check_seen("training on", steps.seen(examples, experiment.client))
        if experiment.adapter.init == "update":
            self.check_seen("a first update of", min(examples, begin.EXAMPLES))
        asked = passes * experiment.client.steps(examples)
        if 0 < self.max_steps < asked:
            raise refusal(f"{asked} steps a round", f"max_steps = {self.max_steps}")

    def check_seen(self, what: str, examples: int) -> None:
        """Refuse what too few distinct examples decide.

        Raises:
            FedloomError: as ``check``.
        """
        if examples < self.min_examples:
            raise refusal(f"{what} {examples} examples", f"min_examples = {self.min_examples}")

    def check_turns(self, kind: str, turns: int, rounds: int) -> None:
        """Refuse one more turn of a kind in a run of so many rounds, of which the site gave ``turns``: each round may
        be done again twice, and a run that goes on after a crash asks once more.

        Raises:
            FedloomError: as ``check``.
        """
        if turns >= (most := 3 * rounds + 8):
            told = f"a run of {rounds} rounds has {most} of them at most"
            raise Refusal(f"the site gave {turns} turns of kind {kind!r} in this run: {told}. Begin a new run.")

    def check_runs(self, runs: int) -> None:
        """Refuse one more run after so many.

        Raises:
            FedloomError: as ``check``.
        """
        if 0 < self.max_runs <= runs:
            raise refusal(f"a run after {runs} others", f"max_runs = {self.max_runs}")


OWN = {"code": ["*"], "layer_patterns": True} | {key: 0 for key in Policy.model_fields if UNBOUNDED.fullmatch(key)}
"""The rules of clients that this machine's own user has work here: whatever code, models and work they name."""


def teacher_of(experiment: Experiment) -> ModelTable | None:
    """The model that an objective's options name as its teacher, if they do.

    Raises:
        FedloomError: they name what is no model.
    """
    options = experiment.objective.options
    if "teacher" not in options:
        return None
    try:
        return ModelTable.model_validate({"name": options["teacher"], "revision": options.get("revision", "")})
    except ValidationError:
        raise Refusal(f"the site refuses objective.teacher = {options['teacher']!r:.200}, which is no model.") from None


def pinned(text: str) -> tuple[str, str]:
    """A model's name and revision: ``owner/model@revision``, or a name alone. A folder's name may have an ``@``."""
    name, _, revision = text.partition("@")
    is_id = name.count("/") == 1 and not name.startswith((".", "/", "~")) and not on_disk(text)
    return (name, revision) if is_id else (text, "")


def read(path: Path | None) -> Policy:
    """The rules in a ``site.toml``; those of ``Policy`` where there is none.

    Raises:
        FedloomError: no such file, not TOML, an unknown key or a wrong value.
    """
    if path is None:
        return Policy()
    try:
        return Policy.model_validate(reading.toml(read_text(path)))
    except ValidationError as error:  # which is a ValueError, too
        told = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise FedloomError(f"{path}: {told}. Known keys: {', '.join(Policy.model_fields)}.") from None
    except (OSError, ValueError) as error:
        raise FedloomError(f"{path}: cannot be read as a site's rules: {error}.") from None


def _matches(name: str, patterns: Patterns) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def refusal(asked: str, rule: str) -> Refusal:
    """That the site refuses what is ``asked``, because of a ``rule`` of its own."""
    return Refusal(f"the site refuses {asked}: its site.toml says {rule}.")
