"""What a site decides for itself, whatever a server asks: its ``site.toml``."""

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from fedloom.core import reading
from fedloom.core.config import Experiment
from fedloom.core.errors import FedloomError
from fedloom.core.files import read_text
from fedloom.core.tables import Count, Limit, Table
from fedloom.federation.middle import Access

Patterns = list[str]


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
        except OSError as error:
            raise FedloomError(f"site.toml: host.token_file: {error}.") from None
        return Access(self.address, self.root_certificates, token, self.key, self.certificate)


class Policy(Table):
    """A site's own rules. Lists hold names or patterns such as ``icons-qa/*``; ``max_`` 0: no limit.

    ``code``: functions ``package.module:function`` that a server may name, and so have called here: none by default.
    ``layer_patterns``: whether it may choose layers by regular expressions, some of which take for ever.
    ``max_steps``: optimiser steps a round. ``min_examples``: with fewer of its own the site takes part in nothing.
    ``metrics``: whether its loss and scores leave as its own, only to be a part of sums, or not at all.
    ``models``: what a server calls a model, and the folder or id that it is here. ``host``: where the language model is
    of an experiment that splits it off; without one, the site takes part in no such experiment.
    """

    tasks: Patterns = Field(default=["*"])
    methods: Patterns = Field(default=["*"])
    adapters: Patterns = Field(default=["*"])
    models: dict[str, str] = Field(default={})
    other_models: bool = True
    code: Patterns = Field(default=[])
    layer_patterns: bool = False
    max_rank: Limit = 0
    max_rounds: Limit = 0
    max_steps: Limit = 0
    min_examples: Limit = 0
    metrics: Literal["own", "sums", "none"] = "own"
    max_message_mb: Count = 2048
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
        named = {"tasks": experiment.task.name, "methods": experiment.method.name, "adapters": adapter.kind}
        for key, name in named.items():
            if ":" not in name and not _matches(name, getattr(self, key)):
                raise _refusal(f"{key.removesuffix('s')} {name!r}", f"{key} = {getattr(self, key)}")
        model = experiment.model.name
        if model not in self.models and not self.other_models:
            raise _refusal(f"model {model!r}", f"models = {sorted(self.models)} and other_models = false")
        if model not in self.models and (model.startswith((".", "/", "~")) or Path(model).is_dir()):
            raise _refusal(f"the folder {model!r}, which a server names", "models has no such name")
        rank = max(adapter.ranks or [adapter.rank])
        for key, asked in (("max_rank", rank), ("max_rounds", experiment.rounds)):
            if 0 < (most := getattr(self, key)) < asked:
                raise _refusal(f"{key.removeprefix('max_')} {asked}", f"{key} = {most}")
        if adapter.names and not self.layer_patterns:
            raise _refusal(f"adapter.names = {adapter.names}", "layer_patterns = false")

    def guard(self, name: str) -> None:
        """Refuse a function of a server's choosing before it is imported.

        Raises:
            FedloomError: as ``check``.
        """
        if not _matches(name, self.code):
            raise _refusal(f"code {name!r}", f"code = {self.code}")

    def check_work(self, experiment: Experiment, examples: int, passes: int = 1) -> None:
        """Refuse more work than the site gives, or work on too few examples. ``passes``: adapters that are trained.

        Raises:
            FedloomError: as ``check``.
        """
        if examples < self.min_examples:
            raise _refusal(f"training on {examples} examples", f"min_examples = {self.min_examples}")
        client = experiment.client
        steps = client.epochs * -(-examples // client.batch_size)
        steps = min(steps, client.max_steps) if client.max_steps else steps
        steps *= passes
        if 0 < self.max_steps < steps:
            raise _refusal(f"{steps} steps a round", f"max_steps = {self.max_steps}")


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


def _refusal(asked: str, rule: str) -> Refusal:
    return Refusal(f"the site refuses {asked}: its site.toml says {rule}.")
