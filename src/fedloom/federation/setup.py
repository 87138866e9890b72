"""From an experiment to the things it names: the same in every process that runs a part of it."""

from dataclasses import dataclass, field
from functools import cached_property

import torch

from fedloom import models
from fedloom.channel import Channel, pipeline
from fedloom.core import config, lora, starts
from fedloom.core.contracts import (
    Adapter,
    Backbone,
    ClientInfo,
    Examiner,
    Example,
    Method,
    Sample,
    Sampler,
    Tree,
)
from fedloom.core.errors import FedloomError
from fedloom.federation import classes, ranks_of
from fedloom.federation.check import check_experiment
from fedloom.federation.dealt import Dealt
from fedloom.federation.measured import check_halves
from fedloom.federation.middle import Access, Middle
from fedloom.federation.places import check_sites
from fedloom.models import drawn

POOL = "all"
"""The one client of a pooled method: it holds everybody's data."""


@dataclass(frozen=True)
class Setup(Dealt):
    """All parts of an experiment, each made when it is first asked for and then kept; those of its data are in
    ``Dealt``.

    ``begun``: the start adapter where the clients' first update decides it, from then on. ``host``: how this process
    reaches the language model's host, where the experiment itself does not say.
    """

    begun: Tree = field(default_factory=dict)
    host: Access | None = None

    @cached_property
    def method(self) -> Method:
        """How clients learn and are merged.

        Raises:
            FedloomError: clients of different ranks under a method that cannot merge them, or that may cut them where
                the adapter starts from the weights.
        """
        method: Method = config.build(self.experiment, "method")
        ranks_of.check_method(self.experiment, method, self.ranks)
        return method

    @cached_property
    def sampler(self) -> Sampler:
        """Who takes part in a round."""
        sampler: Sampler = config.build(self.experiment, "sampling")
        return sampler

    @cached_property
    def up(self) -> Channel:
        """How replies travel; those of a pooled method do not."""
        channel = pipeline(list(self.experiment.channel.up))
        return Channel({}) if self.method.pooled else channel

    @cached_property
    def down(self) -> Channel:
        """How the server's parcels travel; those of a pooled method do not."""
        channel = pipeline(list(self.experiment.channel.down), down=True)
        return Channel({}) if self.method.pooled else channel

    @cached_property
    def middle(self) -> Middle:
        """Where the language model is, and what is sent to it.

        Raises:
            FedloomError: the low-rank wire, and an adapter that it has no codes of.
        """
        if self.experiment.split.wire == "low-rank" and not self.adapter.codes:
            raise FedloomError(
                f"split.wire = 'low-rank' carries the codes of NanoAdapters, and adapter.kind is "
                f"{self.experiment.adapter.kind!r}. Set adapter.kind = 'nano', or split.wire = 'full'."
            )
        return Middle(self.experiment.split, self.host)

    @cached_property
    def adapter(self) -> Adapter:
        """What learns, before there is a model."""
        adapter: Adapter = config.build(self.experiment, "adapter")
        return adapter

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The answers that the task knows, for an adapter or a model that has a part for each (else none).

        Raises:
            FedloomError: as ``classes.known``.
        """
        model, kind = self.experiment.model.name, self.experiment.adapter.kind
        if not (self.adapter.classes or drawn.names_classes(model)):
            return ()
        seen = None if self.scenario.sites else lambda: self.worded([*self.trained, *self.data.test])
        who = f"adapter.kind = {kind!r}" if self.adapter.classes else f"model {model!r}"
        return classes.known(who, self.task, seen)

    @cached_property
    def backbone(self) -> Backbone:
        """The one model of this process, with an adapter of the largest rank that a client may have."""
        model, split = self.experiment.model, self.experiment.split.wire != "none"
        made = models.load(
            model.name,
            adapter=models.AdapterSpec.of(self.experiment.adapter, self._drawn),
            seeds=self.seeds,
            dtype=model.dtype,
            memory_limit_bytes=model.cache_mb * 2**20,
            cache_dir=self.cache_dir if model.disk_cache_mb else None,
            cache_limit_bytes=model.disk_cache_mb * 2**20,
            objective=config.build(self.experiment, "objective"),
            absent=model.absent,
            augment=self.experiment.client.augment,
            normalise=model.normalise,
            max_new_tokens=model.max_new_tokens,
            answer_batch=self.experiment.evaluation.batch_size,
            route=self.middle.route if split else None,
            edge=split and self.middle.elsewhere,
            revision=model.revision,
            classes=self.classes,
            form=self.task.form,
        )
        if split:  # the same whether the halves are in one process or in two
            made.fingerprint = self.middle.fingerprint(model.name, model.revision)
        return made

    @cached_property
    def ranks(self) -> list[int]:
        """Each client's rank, as ``adapter.rank_from`` says.

        Raises:
            FedloomError: keys of the table that contradict each other, a rank that cannot be, or different ranks where
                the adapter starts from the weights.
        """
        if self.experiment.adapter.rank_from == "list":
            return ranks_of.listed(self.experiment)
        labels = [sample.meta for sample in self.loaded.train] if not self.scenario.sites else None
        return ranks_of.found(self.experiment, labels, lambda: self.partition, lambda: self.backbone.read())

    @property
    def _drawn(self) -> int:
        """The rank that the backbone's adapter is drawn with. What fits a budget shows the backbone itself."""
        table = self.experiment.adapter
        return table.rank if table.rank_from == "budget" else max(self.ranks)

    @property
    def scale(self) -> float:
        """The factor of every B A, alpha / rank: the same for clients of any rank."""
        return self.experiment.adapter.alpha / self.experiment.adapter.rank

    @property
    def initial(self) -> Tree:
        """The adapter that everyone starts from, in the largest rank: ``drawn``, or what the clients' first update made
        of it."""
        return self.drawn | self.begun

    @property
    def adapted(self) -> dict[str, tuple[int, int]]:
        """The shape ``[d, k]`` of each weight with a pair beside it, by module."""
        return {name: (b.shape[0], a.shape[1]) for name, (a, b) in lora.pairs(self.drawn).items()}

    def start_of(self, update: Tree) -> Tree:
        """The adapter that starts from an update to the weights, ``[d, k]`` by module (``adapter.init = "update"``)."""
        made: Tree = {}
        for module, change in sorted(update.items()):
            start = starts.of_update(change, self._drawn, self.scale, self.seeds, module)
            assert start.r is not None
            made |= {module + lora.A: start.a, module + lora.B: start.b, module + lora.R: start.r}
        return {name: value.to(self.drawn[name].dtype) for name, value in made.items()}

    @cached_property
    def drawn(self) -> Tree:
        """The adapter as every process makes it, in the largest rank: drawn from the seed, and zero in effect."""
        highest = max(self.ranks)
        return self.backbone.read() if highest == self._drawn else lora.truncate(self.backbone.read(), highest)

    def start(self, info: ClientInfo) -> Tree:
        """The adapter that everyone starts from, in a client's own rank."""
        return self.initial if info.rank == max(self.ranks) else lora.truncate(self.initial, info.rank)

    @property
    def names(self) -> list[str]:
        """The clients' names, also where no site has said yet what it holds."""
        return list(self.scenario.sites or self.clients)

    @cached_property
    def clients(self) -> dict[str, ClientInfo]:
        """The clients that train, by name: one alone for a pooled method."""
        held = self.partition
        if self.method.pooled:
            return {POOL: ClientInfo(POOL, sum(map(len, held.train)), max(self.ranks))}
        rank = dict(zip(self.scenario.sites or held.names, self.ranks, strict=True))
        counts = list(map(len, held.train))
        factors = ranks_of.factors(self.experiment.adapter, counts)
        return {
            name: ClientInfo(name, count, rank[name], factor)
            for name, count, factor in zip(held.names, counts, factors, strict=True)
        }

    def training_examples(self, client: str, round: int = 0) -> list[Example]:
        """What a client trains on in a round, worded."""
        if not self.method.pooled:
            return self.worded(self.training_samples(client, round))
        found: dict[int, Sample] = {}
        for name, indices in zip(self.partition.names, self.partition.train, strict=True):
            found |= dict(zip(indices, self.training_samples(name, round), strict=True))
        return self.worded([found[index] for index in sorted(found)])

    def check(self) -> None:
        """Build everything that can be refused, the model last, so that no run starts that cannot go on.

        Raises:
            FedloomError: whatever is wrong with the experiment, its data or its model.
        """
        check_experiment(self.experiment)
        sites = self.scenario.sites
        check_sites(self.experiment, sites, self.method.pooled)
        if not sites:
            check_halves(self.task.name, self.loaded)
            _ = self.partition, self.data
        _ = self.method, self.sampler, self.up, self.down, self.initial
        if self.method.local.fits:
            self.method.local.fits(self.initial)
        if not sites:
            self.examine()

    def examine(self) -> None:
        """Have the backbone look at all examples that are here, text and pictures, in every form that a round may show:
        no turn should end at one.

        Raises:
            FedloomError: naming an example that it cannot take.
        """
        if isinstance(self.backbone, Examiner):
            for samples in self.in_each_form():
                self.backbone.check(self.worded(samples), trained=True)
            self.backbone.check(self.worded(self.data.test), trained=False)

    def use_threads(self) -> None:
        """Let torch use ``engine.threads`` threads in this process."""
        if self.experiment.engine.threads:
            torch.set_num_threads(self.experiment.engine.threads)
