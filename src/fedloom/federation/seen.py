"""The data of a run as whoever holds it sees it: the one place where an experiment's ``[modality]`` is applied.

load -> measured -> dealt (``Partition``) -> seen -> filled or left out (``modality.fill``) -> worded: training turns,
both evaluators, baselines, the checks before round 1, the examples on the page and the run's fingerprint all begin with
what is seen.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fedloom.core import config, limits
from fedloom.core.config import Experiment
from fedloom.core.contracts import Data, Half, Modality, Sample, Seat, Task, present
from fedloom.core.errors import FedloomError, told
from fedloom.core.partition import Partition
from fedloom.core.seeds import Seeds
from fedloom.federation.filled import Nearest

HALVES: tuple[Half, Half] = ("train", "test")


@dataclass(frozen=True)
class Sight:
    """How those who hold ``data`` see it, by the experiment's modality. ``held`` says who that is, in a pool as well;
    ``sites``: all of them, where ``held`` has one alone; ``public``: complete examples that are nobody's.
    """

    experiment: Experiment
    task: Task
    data: Data
    held: Partition
    sites: Sequence[str] = ()
    public: Sequence[Sample] = ()

    @cached_property
    def modality(self) -> Modality:
        """The rule."""
        modality: Modality = config.build(self.experiment, "modality")
        return modality

    @cached_property
    def seen(self) -> Data:
        """Both halves, the training half as before the first round. Of a ``plain`` rule the very ``data``.

        Raises:
            FedloomError: the rule could do nothing to a half, fails, gives something else than the sample without a
                part, or leaves one that the task cannot word.
        """
        if self.modality.plain:
            return self.data
        for half in HALVES:
            self.modality.check(half, list(getattr(self.data, half)))
        halves = Data(*(self._half(half) for half in HALVES))
        if self.experiment.modality.fill == "retrieved":
            self._check_found(halves)
        return halves

    def whole(self, client: str, half: Half) -> list[Sample]:
        """What a client holds of a half, in its order, with nothing missing."""
        return [getattr(self.data, half)[index] for index in self._mine(client, half)]

    def of(self, client: str, half: Half, round: int = 0) -> list[Sample]:
        """What a client holds of a half, in its order, as it is seen in a round (of the test half: in all of them).

        Raises:
            FedloomError: as ``seen``.
        """
        before = self.whole(client, half)
        if self.modality.plain:
            return before
        after = self.left(client, half, round)
        if self.experiment.modality.fill == "retrieved":
            sources = self.public or (after if half == "train" else self.left(client, "train"))
            after = self._nearest.filled(before, after, sources)
        left_out = half == "train" and self.experiment.modality.fill == "drop"
        for sample, found in zip(before, after, strict=True):
            if not (left_out and lost(sample, found)):
                _check_worded(self._place(half, sample), self.task, sample, found)
        return after

    @cached_property
    def _nearest(self) -> Nearest:
        return Nearest()

    def _half(self, half: Half) -> tuple[Sample, ...]:
        samples: list[Sample] = list(getattr(self.data, half))
        for client in self.held.names:
            for index, sample in zip(self._mine(client, half), self.of(client, half), strict=True):
                samples[index] = sample
        return tuple(samples)

    def left(self, client: str, half: Half, round: int = 0) -> list[Sample]:
        """What the rule leaves of a client's examples, before anything is filled or left out."""
        if self.modality.plain:
            return self.whole(client, half)
        everybody, seeds = list(self.sites or self.held.names), Seeds(self.experiment.seed)
        seat = Seat(client, everybody.index(client), len(everybody), half, round)
        form = self.modality.form(round) if half == "train" else 0
        stream = f"modality/form/{form}" if form else "modality"
        found = []
        for sample in self.whole(client, half):
            limits.tick()
            rng = seeds.numpy(f"{stream}/{half}/{sample.id}")
            found.append(_seen(self._place(half, sample), self.modality, sample, seat, rng))
        return found

    def _mine(self, client: str, half: Half) -> list[int]:
        indices: list[int] = getattr(self.held, half)[self.held.names.index(client)]
        return indices

    def _place(self, half: Half, sample: Sample) -> str:
        return f"modality {self.experiment.modality.name!r}, {half} record {sample.id!r}"

    def _check_found(self, seen: Data) -> None:
        """Refuse data of which nothing that is missing could be filled.

        Raises:
            FedloomError: naming ``modality.fill``.
        """
        pairs = [pair for half in HALVES for pair in zip(getattr(self.data, half), getattr(seen, half), strict=True)]
        if any(one is not two for one, two in pairs) and not any(_whole(s) for s in (*seen.train, *self.public)):
            raise FedloomError(
                "modality.fill = 'retrieved': no training example has both a picture and a text from which what is "
                "missing could be taken. Fix: set modality.public to a share such as 0.1, which stays complete, or "
                "modality.fill = 'none'."
            )


def seen(experiment: Experiment, task: Task, data: Data, held: Partition, sites: Sequence[str] = ()) -> Data:
    """``data`` by the experiment's modality, each sample as its holder sees it before the first round; see ``Sight``.

    Raises:
        FedloomError: as ``Sight.seen``.
    """
    return Sight(experiment, task, data, held, sites).seen


def forms(modality: Modality, rounds: int) -> dict[int, int]:
    """The forms in which training examples are seen in ``rounds`` rounds, in the order of their first one, which is the
    value; round 0 is that before the first."""
    found: dict[int, int] = {}
    for round in range(rounds + 1):
        found.setdefault(modality.form(round), round)
    return found


def _whole(sample: Sample) -> bool:
    return present(sample) == "image+text"


def _seen(place: str, modality: Modality, sample: Sample, seat: Seat, rng: np.random.Generator) -> Sample:
    try:
        found = modality.see(sample, seat, rng)
    except FedloomError:
        raise
    except Exception as error:
        raise FedloomError(f"{place}: it failed: {told(error)}.") from error
    if not isinstance(found, Sample) or _stays(found) != _stays(sample):
        raise FedloomError(
            f"{place}: it gives {found!r:.200}; expected the sample, with its id, question, choices and answer."
        )
    return found


def _check_worded(place: str, task: Task, sample: Sample, found: Sample) -> None:
    """See that a sample can still be worded when something of it is missing.

    Raises:
        FedloomError: it cannot.
    """
    if found == sample:
        return
    try:
        task.word(found)
    except FedloomError as error:
        fix = "Choose another modality, or have the task's word() take what is present."
        raise FedloomError(f"{place}: {error} {fix}") from error


def _stays(sample: Sample) -> tuple[object, ...]:
    return (
        sample.id,
        sample.question,
        sample.choices,
        sample.choice_texts,
        sample.answer,
        sample.rejected,
        dict(sample.meta),
    )


def lost(before: Sample, after: Sample) -> str:
    """Which modality a sample lost: ``"image"``, ``"text"``, ``"both"``, or ``""``."""
    gone = [name for name, part in (("image", "images"), ("text", "text")) if _lost(before, after, part)]
    return "both" if len(gone) == 2 else "".join(gone)


def _lost(before: Sample, after: Sample, part: str) -> bool:
    return bool(getattr(before, part)) and not getattr(after, part)


def losses(sight: Sight, client: str, halves: Sequence[Half] = HALVES) -> dict[str, dict[str, int]]:
    """How many of a client's examples lost which modality: counts by half and ``lost``."""
    counts: dict[str, dict[str, int]] = {}
    for half in halves:
        found = list(map(lost, sight.whole(client, half), sight.left(client, half)))
        counts[half] = {what: found.count(what) for what in ("image", "text", "both") if what in found}
    return counts


def counted(samples: Iterable[Sample]) -> dict[str, int]:
    """How many samples have which modalities (``present``); what none has is left out."""
    return dict(sorted(Counter(map(present, samples)).items()))


def whole_alone(before: Data, after: Data, held: Partition) -> Partition:
    """Who holds what, without the training examples that lost something (``modality.fill = "drop"``).

    Raises:
        FedloomError: a client has none left.
    """
    train = []
    for name, indices in zip(held.names, held.train, strict=True):
        left = [index for index in indices if not lost(before.train[index], after.train[index])]
        if indices and not left:
            raise FedloomError(
                f"modality.fill = 'drop': client {name!r} has no training example left, since each of its "
                f"{len(indices)} lacks a modality. Fix: lower the rate of what is missing, raise scenario.minimum, or "
                "set modality.fill = 'none' or 'retrieved'."
            )
        train.append(left)
    return Partition(train, held.test, held.names)


def mix(samples: Iterable[Sample]) -> dict[str, float]:
    """The share of the samples that has which modalities, by the words of ``present``; those of which there are any."""
    counts = counted(samples)
    return {what: count / sum(counts.values()) for what, count in counts.items()}
