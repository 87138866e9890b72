"""The data of a run as whoever holds it sees it: the one place where an experiment's ``[modality]`` is applied.

load -> measured -> dealt (``partition``) -> seen -> worded: training turns, both evaluators, baselines, the checks
before round 1, the examples on the page and the run's fingerprint all begin with what is seen.
"""

from collections.abc import Sequence

import numpy as np

from fedloom.core import config, limits
from fedloom.core.config import Experiment
from fedloom.core.contracts import Data, Half, Modality, Sample, Seat, Task, present
from fedloom.core.errors import FedloomError, told
from fedloom.core.partition import Partition
from fedloom.core.seeds import Seeds

HALVES: tuple[Half, Half] = ("train", "test")


def seen(experiment: Experiment, task: Task, data: Data, held: Partition, sites: Sequence[str] = ()) -> Data:
    """``data`` by the experiment's modality, each sample as its holder sees it. ``held`` says who that is, in a pool as
    well; ``sites``: all of them, where ``held`` has one alone. Of a ``plain`` rule the very ``data``.

    Raises:
        FedloomError: the rule could do nothing to a half, fails, gives something else than the sample without a part,
            or leaves one that the task cannot word.
    """
    modality: Modality = config.build(experiment, "modality")
    if modality.plain:
        return data
    clients, seeds = list(sites or held.names), Seeds(experiment.seed)
    halves = []
    for half in HALVES:
        samples: list[Sample] = list(getattr(data, half))
        modality.check(half, samples)
        for client, indices in zip(held.names, getattr(held, half), strict=True):
            seat = Seat(client, clients.index(client), len(clients), half)
            for index in indices:
                limits.tick()
                sample = samples[index]
                place = f"modality {experiment.modality.name!r}, {half} record {sample.id!r}"
                rng = seeds.numpy(f"modality/{half}/{sample.id}")
                samples[index] = _seen(place, modality, sample, seat, rng)
                _check_worded(place, task, sample, samples[index])
        halves.append(tuple(samples))
    return Data(*halves)


def _seen(place: str, modality: Modality, sample: Sample, seat: Seat, rng: np.random.Generator) -> Sample:
    try:
        found = modality.see(sample, seat, rng)
    except Exception as error:
        raise FedloomError(f"{place}: it failed: {told(error)}.") from error
    if not isinstance(found, Sample) or _stays(found) != _stays(sample):
        raise FedloomError(f"{place}: it gives {found!r:.200}; expected the sample, with its id, choices and answer.")
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
    return sample.id, sample.choices, sample.answer, sample.rejected, dict(sample.meta)


def lost(before: Sample, after: Sample) -> str:
    """Which modality a sample lost: ``"image"``, ``"text"``, ``"both"``, or ``""``."""
    gone = [name for name, part in (("image", "images"), ("text", "text")) if _lost(before, after, part)]
    return "both" if len(gone) == 2 else "".join(gone)


def _lost(before: Sample, after: Sample, part: str) -> bool:
    return bool(getattr(before, part)) and not getattr(after, part)


def losses(before: Data, after: Data, held: Partition) -> dict[str, dict[str, dict[str, int]]]:
    """How many examples of each client lost which modality: counts by client, half and ``lost``."""
    counts: dict[str, dict[str, dict[str, int]]] = {name: {} for name in held.names}
    for half in HALVES:
        pairs = [*zip(getattr(before, half), getattr(after, half), strict=True)]
        for name, indices in zip(held.names, getattr(held, half), strict=True):
            found = [lost(*pairs[index]) for index in indices]
            counts[name][half] = {what: found.count(what) for what in ("image", "text", "both") if what in found}
    return counts


def training(data: Data, held: Partition, client: str, pooled: bool) -> list[Sample]:
    """What a client trains on; where all data is ``pooled``, all of it."""
    return list(data.train) if pooled else [data.train[index] for index in held.train[held.names.index(client)]]


def mix(samples: Sequence[Sample]) -> dict[str, float]:
    """The share of the samples that has which modalities, by the words of ``present``; those of which there are any."""
    found = [present(sample) for sample in samples]
    return {what: found.count(what) / len(found) for what in sorted(set(found))}
