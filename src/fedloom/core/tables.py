"""The tables of an experiment file, as typed records: every key, its default and its bounds stand here."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from fedloom.core.resolve import parted
from fedloom.core.table import AxisTable, Count, FileName, Kind, Limit, Placement, Positive, Revision, Table

Decay = Annotated[float, Field(ge=0, lt=1)]

IN_BATCH = {"name": "in-batch"}
"""What ``model.loss = "contrastive"`` was."""


class ModelTable(Table):
    """The model that is tuned."""

    name: str
    """A shipped model (`fedloom models`), a Hugging Face id or a folder."""
    revision: Revision = ""
    """Of a Hugging Face id: the commit, tag or branch that is meant ("": the one that is here, or else the newest)."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """What is computed in."""
    cache_mb: Limit = 512
    """Frozen features are kept in memory up to so many megabytes."""
    disk_cache_mb: Limit = 0
    """And then on disk up to so many (0: not at all)."""
    absent: Literal["refuse", "blank", "learned"] = "refuse"
    """What a contrastive model has in the place of an absent picture: nothing, a blank picture, or a learnt vector."""
    normalise: bool = False
    """Rank a generative model's choices by mean, not summed, log-likelihood."""
    max_new_tokens: Count = 16
    """The most tokens of a free answer."""


class AdapterTable(AxisTable):
    """What learns; pairs are scaled by ``alpha / rank``."""

    kind: str = "lora"
    """What it is (`fedloom adapters`), or package.module:function; its options stand beside it."""
    init: Literal["kaiming", "svd", "update"] = "kaiming"
    """Where pairs start: at random, from the largest directions of the weights, or of the clients' first update."""
    rank: Count = 8
    """The rank of the pairs, the largest where clients have ranks of their own."""
    alpha: Positive = 16.0
    """The numerator of the scale alpha / rank."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """The share of a pair's inputs that is dropped in training."""
    where: list[Placement] = ["vision", "connector", "language", "text"]
    """The components whose layers are adapted, placements ("qformer-self"), or globs over component.block.kind."""
    modules: list[Kind] = ["q", "v"]
    """The kinds of layers that are adapted there."""
    names: list[str] = []
    """Regular expressions: layers whose full name one of them finds are adapted as well."""
    fully: list[str] = []
    """Modules and parameters that learn themselves beside pairs, by name, such as "query_tokens"."""
    rank_from: Literal["list", "budget", "data"] = "list"
    """Where a client's rank comes from: ``ranks``, ``budgets``, or how its examples differ in ``rank_by``."""
    ranks: list[Count] = []
    """Of rank_from "list": client i has ranks[i % len(ranks)], or ``rank`` where there are none."""
    budgets: list[Positive] = []
    """Of "budget": the largest rank whose pairs take at most budgets[i % len(budgets)] megabytes."""
    min_rank: Limit = 1
    """Of "data": what the ranks begin at, which are 1 at least; they end at ``rank``."""
    rank_by: str = "label"
    """Of "data": the field of the examples by which it is drawn."""
    alpha_from: Literal["table", "data"] = "table"
    """Where a client's alpha comes from: ``alpha``, or how large its share of the examples is."""
    min_alpha: Annotated[float, Field(ge=0)] = 0.0
    """Of alpha_from "data": the smallest alpha of a client; the largest is ``alpha``."""
    normalised: bool = False
    """Of "data": how clients differ, and their shares, are first spread from 0 to 1."""


class TaskTable(AxisTable):
    """What is asked."""

    name: str
    """The task (`fedloom tasks`), or package.module:function; its options stand beside it."""


class DataTable(Table):
    """The data of a task that reads a folder."""

    path: str = ""
    """The folder (`--data`)."""
    on_bad: Literal["refuse", "skip"] = "refuse"
    """What a broken record does: the run is refused, or it is left out with a warning."""


class ScenarioTable(AxisTable):
    """Who holds what."""

    name: str
    """The scenario (`fedloom scenarios`), or package.module:function; its options stand beside it."""
    clients: Count
    """How many clients there are."""
    minimum: Count = 2
    """The fewest training examples of a client."""


class SamplingTable(AxisTable):
    """Which clients take part in a round."""

    name: str = "uniform"
    """How they are drawn (`fedloom sampling`), or package.module:function; its options stand beside it."""
    fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    """The share of the clients that takes part, at least one."""
    extra: Annotated[float, Field(ge=0, le=4)] = 0.0
    """So much more of the cohort is asked than is needed; the first replies count, and which depends on the clock."""


class ObjectiveTable(AxisTable):
    """What clients minimise."""

    name: str = "answer"
    """The loss (`fedloom objectives`), or package.module:function; its options stand beside it."""


class ModalityTable(AxisTable):
    """Which modalities of an example are there."""

    name: str = "complete"
    """The rule (`fedloom modalities`), or package.module:function; its options stand beside it."""
    fill: Literal["none", "retrieved", "drop"] = "none"
    """What stands for what the rule takes away: nothing, that of the nearest example; or the example is left out."""
    public: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Of "retrieved": the share of the training examples that all search and none trains on (0: each its own)."""

    @model_validator(mode="after")
    def _searched(self) -> "ModalityTable":
        if self.public and self.fill != "retrieved":
            raise ValueError(f"modality.fill = 'retrieved', which modality.public = {self.public:g} belongs to")
        return self


class MethodTable(AxisTable):
    """How clients learn and how their replies are merged."""

    name: str = "fedavg"
    """The method (`fedloom methods`), or package.module:function; its options stand beside it."""
    with_: list[str] = []
    """Further methods whose client halves are added to its own, each "name" or "name:argument,argument"."""

    @property
    def names(self) -> list[str]:
        """Its name, and those of the methods that are added to it."""
        return [self.name, *(parted(text)[0] for text in self.with_)]

    @property
    def title(self) -> str:
        """What a run of it is called: ``fedavg with fedprox:0.01``."""
        return f"{self.name} with {', '.join(self.with_)}" if self.with_ else self.name


class ClientTable(Table):
    """One client's local training."""

    epochs: Count = 1
    """Passes over its examples in a round."""
    batch_size: Count = 8
    """Examples a step."""
    lr: Positive = 1e-3
    """The learning rate."""
    schedule: Literal["constant", "cosine"] = "constant"
    """The rate over the rounds: the same, or a cosine down to a tenth."""
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """The share of the rounds over which the rate rises."""
    turn_schedule: Literal["constant", "cosine"] = "constant"
    """The rate over the steps of a turn: that of the round, or a cosine from it down to zero."""
    optimizer: Literal["adamw", "adamax", "sgd"] = "adamw"
    """The optimiser, begun anew in each round."""
    betas: Annotated[list[Decay], Field(min_length=2, max_length=2)] = [0.9, 0.999]
    """Of "adamw" and "adamax": how fast their two moments decay."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """The optimiser's weight decay."""
    clip: Annotated[float, Field(ge=0)] = 0.0
    """The largest norm of a step's gradient, of all that learns together; a larger one is scaled down (0: none is)."""
    max_steps: Limit = 0
    """The most steps in a round (0: no limit but ``epochs``)."""
    augment: Literal["none", "crop", "crop-flip"] = "none"
    """What a contrastive model's pictures go through in each step: nothing, a random crop, and a mirror besides."""

    def steps(self, examples: int) -> int:
        """Optimiser steps of a turn of a client that trains on so many examples."""
        every = self.epochs * -(-examples // self.batch_size)
        return min(every, self.max_steps) if self.max_steps else every


class ChannelTable(Table):
    """How bytes travel: stages in the order the sender applies them, each "name" or "name:argument"."""

    up: list[str] = []
    """Stages of the clients' replies (`fedloom channel`)."""
    down: list[str] = []
    """Stages of what the server sends."""


class SplitTable(Table):
    """Where the language model is. See ``fedloom.split.boundary`` for the choices. Real sites have an address, a
    certificate and a token of their own in ``site.toml``."""

    wire: Literal["none", "full", "low-rank"] = "none"
    """With the client, or behind a boundary that embeddings or the codes of NanoAdapters cross."""
    labels: Literal["shared", "private"] = "shared"
    """Whether the host sees the answers."""
    numbers: Literal["fp32", "bf16", "int8"] = "fp32"
    """What numbers cross in."""
    host: str = ""
    """The host's HOST:PORT ("": in this process, one for all clients)."""
    root_certificates: str = ""
    """Who signed the host's certificate; the token is read from the environment (FEDLOOM_HOST_TOKEN)."""
    deadline: Positive = 120.0
    """Seconds that a host has for an answer."""
    patience: Positive = 120.0
    """Seconds for which a host that is gone or busy is asked again."""
    memory_mb: Count = 1024
    """Megabytes of rows that a host in this process holds."""


class EngineTable(Table):
    """Where clients run."""

    name: str = "local"
    """This machine ("local"), real sites ("flower"), Flower's simulation ("flower-simulation")."""
    workers: Count = 1
    """Processes that run clients on this machine; their number never changes a result."""
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    """Torch's threads in each (0: its own choice); they may change a result's last bits."""
    quorum: Annotated[float, Field(gt=0, le=1)] = 0.5
    """The least share of a cohort that must answer, else the round is done again once."""
    outliers: Annotated[float, Field(ge=0)] = 100.0
    """A reply that moved so many times as far as its cohort is left out (0: none is for that)."""
    superlink: str = ""
    """Of "flower": a connection of Flower's configuration ("": SuperLink and sites are started on this machine)."""
    deadline: Annotated[float, Field(ge=0)] = 0.0
    """Of "flower": seconds that a site has for its reply (0: until it is seen to be lost)."""
    patience: Annotated[float, Field(ge=0)] = 60.0
    """Of "flower": seconds for which missing sites are waited for, at first and before a round is done again."""


class EvaluationTable(Table):
    """When and where the model is measured, and on what."""

    where: Literal["server", "clients"] = "server"
    """The server answers the examples, or each client its own part; then only the sum of its scores leaves it."""
    on: Literal["test", "validation"] = "test"
    """The test half, or a part of the training half that is taken out before anything is dealt: to choose rates by."""
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Of "validation": the share of the training half; the rest of it is what is trained on."""
    every: Limit = 1
    """Evaluate after every so many rounds (0: only after the last)."""
    batch_size: Count = 32
    """Examples at once."""
    limit: Limit = 0
    """The most test examples (0: all)."""


class Experiment(Table):
    """One experiment: everything that decides its result."""

    name: FileName = ""
    """Its name, and that of its run folder; "": that of the file."""
    rounds: Count = 10
    """Rounds of sending, local training and merging."""
    seed: Limit = 0
    """The seed of every random draw."""
    model: ModelTable
    adapter: AdapterTable = AdapterTable()
    task: TaskTable
    data: DataTable = DataTable()
    scenario: ScenarioTable
    sampling: SamplingTable = SamplingTable()
    objective: ObjectiveTable = ObjectiveTable()
    modality: ModalityTable = ModalityTable()
    method: MethodTable = MethodTable()
    client: ClientTable = ClientTable()
    channel: ChannelTable = ChannelTable()
    split: SplitTable = SplitTable()
    engine: EngineTable = EngineTable()
    evaluation: EvaluationTable = EvaluationTable()

    @model_validator(mode="before")
    @classmethod
    def _moved(cls, raw: Any) -> Any:
        """``model.loss`` of earlier releases, which is an objective now."""
        model = raw.get("model") if isinstance(raw, dict) else None
        if not isinstance(model, dict) or "loss" not in model:
            return raw
        loss, rest = model["loss"], {key: value for key, value in model.items() if key != "loss"}
        if loss not in ("classes", "contrastive"):
            raise ValueError("model.loss is objective.name now: 'answer' was 'classes', and 'in-batch' 'contrastive'")
        if loss == "classes":
            return {**raw, "model": rest}
        if raw.get("objective", IN_BATCH) != IN_BATCH:
            raise ValueError("model.loss = 'contrastive' is objective.name = 'in-batch' now: leave one of the two out")
        return {**raw, "model": rest, "objective": IN_BATCH}
