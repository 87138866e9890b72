"""The tables of an experiment file, as typed records: every key, its default and its bounds stand here."""

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_serializer, model_validator

Count = Annotated[int, Field(ge=1)]
Limit = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Component = Literal["vision", "connector", "language", "text"]
Kind = Literal["q", "k", "v", "o", "mlp"]


class Table(BaseModel):
    """A table whose keys are all known; values are never converted from another type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class AxisTable(Table):
    """A table that names a choice of an axis; keys it does not know itself are that choice's ``options``."""

    name: str
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, raw: Any) -> Any:
        if not isinstance(raw, dict):
            return raw
        options = raw.get("options", {})
        if not isinstance(options, dict):
            return {key: value for key, value in raw.items() if key in cls.model_fields}
        own = {key: value for key, value in raw.items() if key in cls.model_fields and key != "options"}
        free = {key: value for key, value in raw.items() if key not in cls.model_fields}
        return {**own, "options": {**options, **free}}

    @model_serializer
    def _flatten(self) -> dict[str, Any]:
        own = {key: getattr(self, key) for key in type(self).model_fields if key != "options"}
        return {**own, **self.options}


class ModelTable(Table):
    """``name``: a shipped model, a Hugging Face id or a folder. Frozen features are kept in memory up to ``cache_mb``
    and then on disk up to ``disk_cache_mb`` (0: not at all).

    ``loss``: how a contrastive model learns. ``normalise``: rank a generative model's choices by mean, not summed,
    log-likelihood. ``max_new_tokens``: of a free answer.
    """

    name: str
    dtype: Literal["float32", "bfloat16"] = "float32"
    cache_mb: Limit = 512
    disk_cache_mb: Limit = 0
    loss: Literal["classes", "contrastive"] = "classes"
    normalise: bool = False
    max_new_tokens: Count = 16


class AdapterTable(Table):
    """What learns, scaled by ``alpha / rank``: layers of the components ``where`` and the kinds ``modules``, and those
    whose full name a regular expression of ``names`` finds. ``kind`` and ``init``: see ``models.adapter``.

    ``rank_from``: where the rank of client i comes from. ``"list"``: it is ``ranks[i % len(ranks)]``, or ``rank`` where
    there are none. ``"budget"``: the largest up to ``rank`` whose pairs take at most ``budgets[i % len(budgets)]``
    megabytes. ``"data"``: between ``min_rank`` and ``rank``, by how the field ``rank_by`` of its examples differs.
    """

    kind: Literal["lora", "lora-sb", "nano"] = "lora"
    init: Literal["kaiming", "svd", "update"] = "kaiming"
    rank: Count = 8
    alpha: Positive = 16.0
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    where: list[Component] = ["vision", "connector", "language", "text"]
    modules: list[Kind] = ["q", "v"]
    names: list[str] = []
    rank_from: Literal["list", "budget", "data"] = "list"
    ranks: list[Count] = []
    budgets: list[Positive] = []
    min_rank: Count = 1
    rank_by: str = "label"


class TaskTable(AxisTable):
    """What is asked."""


class DataTable(Table):
    """``path``: a folder, for tasks that read one. ``on_bad``: what a broken record does."""

    path: str = ""
    on_bad: Literal["refuse", "skip"] = "refuse"


class ScenarioTable(AxisTable):
    """Who holds what: each client has at least ``minimum`` training examples."""

    clients: Count
    minimum: Count = 2


class SamplingTable(AxisTable):
    """Which clients take part in a round: ``fraction`` of them, at least one. ``extra``: so much more of the cohort is
    asked than is needed; the first replies count, and which those are depends on the clock."""

    name: str = "uniform"
    fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    extra: Annotated[float, Field(ge=0, le=4)] = 0.0


class MethodTable(AxisTable):
    """How clients learn and how their replies are merged."""

    name: str = "fedavg"


class ClientTable(Table):
    """One client's local training. ``max_steps`` 0: no limit but ``epochs``. ``schedule``: the rate over the rounds."""

    epochs: Count = 1
    batch_size: Count = 8
    lr: Positive = 1e-3
    schedule: Literal["constant", "cosine"] = "constant"
    optimizer: Literal["adamw", "sgd"] = "adamw"
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    max_steps: Limit = 0


class ChannelTable(Table):
    """How bytes travel: stages in the order the sender applies them, each ``"name"`` or ``"name:argument"``."""

    up: list[str] = []
    down: list[str] = []


class SplitTable(Table):
    """Where the language model is: with the client (``wire`` ``"none"``), or behind a boundary that embeddings
    (``"full"``) or the codes of NanoAdapters (``"low-rank"``) cross. See ``fedloom.split.boundary`` for the choices.

    ``host``: its ``HOST:PORT``; ``""``: it is in this process, one for all clients. Real sites have an address, a
    certificate and a token of their own in ``site.toml``. ``root_certificates``: who signed the host's certificate; the
    token is read from the environment (``FEDLOOM_HOST_TOKEN``). A host has ``deadline`` seconds for an answer, and one
    that is gone or busy is asked again for ``patience`` seconds. ``memory_mb``: rows that a host in this process holds.
    """

    wire: Literal["none", "full", "low-rank"] = "none"
    labels: Literal["shared", "private"] = "shared"
    numbers: Literal["fp32", "bf16", "int8"] = "fp32"
    host: str = ""
    root_certificates: str = ""
    deadline: Positive = 120.0
    patience: Positive = 120.0
    memory_mb: Count = 1024


class EngineTable(Table):
    """Where clients run. ``workers`` never changes a result; ``threads`` (torch's, 0: its own choice) may change its
    last bits. ``quorum``: the least share of a cohort that must answer, else the round is done again once.

    Of engine ``flower``: ``superlink`` is a connection's name in Flower's configuration ("": a SuperLink and all sites
    are started on this machine). A site has ``deadline`` seconds for its reply (0: until it is seen to be lost), and
    missing sites are waited for ``patience`` seconds before the first round and before a round is done again.
    """

    name: str = "local"
    workers: Count = 1
    threads: Limit = 0
    quorum: Annotated[float, Field(gt=0, le=1)] = 0.5
    superlink: str = ""
    deadline: Annotated[float, Field(ge=0)] = 0.0
    patience: Annotated[float, Field(ge=0)] = 60.0


class EvaluationTable(Table):
    """``every`` so many rounds (0: only after the last); ``limit`` examples at most (0: all). ``where``: the server
    answers them, or each client its own part; then only the sum of its scores leaves it.

    ``on``: the test half, or a part of the training half (``validation`` of it) that is taken out before anything is
    dealt: to choose a rate by, without a look at the test half. The rest of it is what is trained on.
    """

    where: Literal["server", "clients"] = "server"
    on: Literal["test", "validation"] = "test"
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.2
    every: Limit = 1
    batch_size: Count = 32
    limit: Limit = 0


class Experiment(Table):
    """One experiment: everything that decides its result."""

    name: str = ""
    rounds: Count = 10
    seed: Limit = 0
    model: ModelTable
    adapter: AdapterTable = AdapterTable()
    task: TaskTable
    data: DataTable = DataTable()
    scenario: ScenarioTable
    sampling: SamplingTable = SamplingTable()
    method: MethodTable = MethodTable()
    client: ClientTable = ClientTable()
    channel: ChannelTable = ChannelTable()
    split: SplitTable = SplitTable()
    engine: EngineTable = EngineTable()
    evaluation: EvaluationTable = EvaluationTable()


def _spelled(value: Any) -> str:
    """A value of TOML as ``--set`` spells it."""
    if isinstance(value, str):
        return value
    if not isinstance(value, bool | int | float | list):
        raise ValueError("a text, a number, true, false or a list")
    return json.dumps(value, ensure_ascii=False, default=str)


Spelled = Annotated[str, BeforeValidator(_spelled)]
Values = Annotated[list[Spelled], Field(min_length=1)]


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class CompareTable(Table):
    """What ``fedloom compare`` varies: every combination of ``axes`` (a key and its values) runs under ``seeds`` seeds,
    ``jobs`` cells at a time. It stands beside the experiment and is no part of it.

    A value is TOML, or a text as ``--set`` spells it; a text may carry further overrides after spaces, such as
    ``"fedopt method.eta=0.01"``.

    ``tune``: keys and values to choose from, such as ``{"client.lr" = [1e-3, 1e-2]}``. Every combination tries all of
    them on the validation part, under ``tune_seeds`` seeds that are not measured, and is measured with the best.
    ``tune_over``: the axes for whose values a choice of its own is made, by default all; the other axes keep their
    first value meanwhile. ``baseline``: what the rows are held against, such as ``"method=fedavg"``; by default the
    first value of axis ``method``, or of the first axis.
    """

    seeds: Count = 3
    jobs: Count = 1
    axes: dict[str, Values] = {}
    tune: dict[str, Values] = {}
    tune_seeds: Count = 1
    tune_over: list[str] | None = None
    baseline: Annotated[list[str], BeforeValidator(_listed)] = []
