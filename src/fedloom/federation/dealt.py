"""What an experiment's data is, who holds it, and how they see it: the part of ``Setup`` that needs no model."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from fedloom.core import config, partition
from fedloom.core.config import Experiment
from fedloom.core.contracts import Data, Example, Sample, Scenario, Task
from fedloom.core.errors import FedloomError
from fedloom.core.samples import guarded
from fedloom.core.seeds import Seeds
from fedloom.federation.measured import measured, set_apart
from fedloom.federation.places import Holding, of_sites
from fedloom.federation.seen import Sight, forms, whole_alone


@dataclass(frozen=True)
class Dealt:
    """The data of an experiment, each part made when it is first asked for and then kept.

    Where the data is dealt, everyone who builds it sees the same. Where sites hold their own, ``site`` says which of
    them this is, with its own data and no other; ``""`` is the server, which knows what it is ``told``. ``cache_dir``:
    where what is computed of the data is kept.
    """

    experiment: Experiment
    cache_dir: Path | None = None
    site: str = ""
    told: dict[str, Holding] = field(default_factory=dict)

    @cached_property
    def seeds(self) -> Seeds:
        """Every random stream of the experiment."""
        return Seeds(self.experiment.seed)

    @cached_property
    def task(self) -> Task:
        """What is asked."""
        return guarded(config.build(self.experiment, "task"), self.experiment.data.on_bad)

    @cached_property
    def _split(self) -> tuple[Data, tuple[Sample, ...]]:
        """The data, and what of its training half is public (``modality.public``)."""
        table = self.experiment.modality
        if self.scenario.sites and not self.site:
            raise FedloomError(f"scenario {self.experiment.scenario.name!r}: the data is at the sites; none is here.")
        if self.scenario.sites and table.public:
            raise FedloomError(
                f"modality.public = {table.public:g}: sites have no examples in common. Set modality.public = 0: each "
                "site searches its own."
            )
        data = measured(self.task.load(), self.experiment.evaluation, self.seeds)
        if not table.public:
            return data, ()
        left, public = set_apart(data.train, table.public, self.seeds, "modality/public")
        return Data(left, data.test), public

    @cached_property
    def loaded(self) -> Data:
        """The task's data as this run uses it (see ``measured``), with nothing missing. Those of a site are its own."""
        return self._split[0]

    @cached_property
    def public(self) -> tuple[Sample, ...]:
        """Training examples that all may search and nobody trains on, with nothing missing."""
        return self._split[1]

    @cached_property
    def scenario(self) -> Scenario:
        """Who holds what, as shares."""
        scenario: Scenario = config.build(self.experiment, "scenario")
        return scenario

    @cached_property
    def held(self) -> partition.Partition:
        """Who holds what, as indices."""
        if sites := self.scenario.sites:
            held = {self.site: Holding.of(self.loaded)} if self.site else {name: self.told[name] for name in sites}
            return of_sites(held)
        train, test = ([sample.meta for sample in half] for half in (self.loaded.train, self.loaded.test))
        table = self.experiment.scenario
        return partition.deal(self.scenario, train, test, table.clients, table.minimum, self.seeds)

    @cached_property
    def sight(self) -> Sight:
        """How its holders see the data ([modality])."""
        return Sight(self.experiment, self.task, self.loaded, self.held, self.scenario.sites, self.public)

    @cached_property
    def data(self) -> Data:
        """What this run trains on and what it is measured on, each sample as whoever holds it sees it, before the first
        round. What is left out of training (``modality.fill = "drop"``) is in it, and in nobody's ``partition``."""
        return self.sight.seen

    @cached_property
    def forms(self) -> dict[int, int]:
        """The forms in which training examples are seen, each with the first round of it; see ``Modality.form``."""
        return forms(config.build(self.experiment, "modality"), self.experiment.rounds)

    @cached_property
    def partition(self) -> partition.Partition:
        """Who trains on what and is measured on what, as indices.

        Raises:
            FedloomError: a client whose examples are all left out, or a rule that changes and examples that are.
        """
        held = self.held
        if self.experiment.modality.fill != "drop" or (self.scenario.sites and not self.site):
            return held
        if len(self.forms) > 1:
            raise FedloomError(
                f"modality.fill = 'drop' leaves examples out of the whole run, and under modality "
                f"{self.experiment.modality.name!r} they lack something in some of its rounds. Set modality.fill = "
                "'none' or 'retrieved'."
            )
        return whole_alone(self.loaded, self.data, held)

    @property
    def trained(self) -> list[Sample]:
        """The training examples that anybody trains on, as before the first round."""
        held = {index for indices in self.partition.train for index in indices}
        return [self.data.train[index] for index in sorted(held)]

    def training_samples(self, client: str, round: int = 0) -> list[Sample]:
        """What a client trains on in a round, as it is seen there."""
        held, number = self.partition, self.partition.names.index(client)
        if (form := self.form(round)) == self.form(0):
            return [self.data.train[index] for index in held.train[number]]
        return self.sight.of(client, "train", self.forms.get(form, round))

    def in_each_form(self) -> Iterator[list[Sample]]:
        """The training examples of each form that they are seen in, without those that were the same in one before."""
        yield self.trained
        met = {index: [sample] for index, sample in enumerate(self.data.train)} if len(self.forms) > 1 else {}
        for round in list(self.forms.values())[1:]:
            fresh = []
            for name, indices in zip(self.partition.names, self.partition.train, strict=True):
                for index, sample in zip(indices, self.training_samples(name, round), strict=True):
                    if sample not in met[index]:
                        met[index].append(sample)
                        fresh.append(sample)
            if fresh:
                yield fresh

    def form(self, round: int) -> int:
        """The number of the form in which training examples are seen in a round."""
        return next(iter(self.forms)) if len(self.forms) == 1 else self.sight.modality.form(round)

    def test_samples(self, client: str) -> list[Sample]:
        """What a client is measured on."""
        held = self.partition
        return [self.data.test[index] for index in held.test[held.names.index(client)]]

    def worded(self, samples: Sequence[Sample]) -> list[Example]:
        """Samples as a backbone sees them."""
        return [self.task.word(sample) for sample in samples]
