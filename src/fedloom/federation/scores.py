"""What an evaluation found: the figure of the run, every other figure of the task, and what they were made of.

The figure is ``task.metrics[task.metric]`` of all answers together where the task has such a metric, else the mean of
the scores. Where the clients answer, each has figures of its own examples, and the run's is their mean, weighted by how
many examples each has; which is not the figure of all examples together, and is never called so.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from fedloom.core.contracts import Answered, Sample, Task
from fedloom.core.errors import FedloomError
from fedloom.core.partition import Partition
from fedloom.federation.answers import unparsed
from fedloom.federation.facts import METRIC, UNPARSED, Told

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scores:
    """What an evaluation found.

    ``answers``, ``scores``: of every test example, in the order of the test half; empty where the clients answered, as
    are the examples' ``ids``, what was ``read`` in the answers (empty too where the task reads none) and the
    ``weights`` of their choices (where it has no metrics).
    Then ``sums`` has the sum of scores and the number of examples of each client that lets them be known, ``unnamed``
    the same of all others together, and ``missing`` who did not answer, or is in no mean, and why.
    ``unparsed``: the share of answers that could not be parsed; ``None``: an older folder does not tell. ``metrics``:
    the task's figures, ``None`` where one is not defined; ``metric``: the run's among them (empty: the mean of the
    scores), and ``clients`` that of each client that lets it be known.
    """

    answers: list[str]
    scores: list[float]
    sums: dict[str, list[float]] = field(default_factory=dict)
    unnamed: list[float] = field(default_factory=lambda: [0.0, 0])
    missing: dict[str, str] = field(default_factory=dict)
    bytes_up: int = 0
    bytes_down: int = 0
    split_up: int = 0
    split_down: int = 0
    ids: list[str] = field(default_factory=list)
    read: list[str | None] = field(default_factory=list)
    weights: list[list[float]] = field(default_factory=list)
    unparsed: float | None = None
    metric: str = ""
    metrics: dict[str, float | None] = field(default_factory=dict)
    clients: dict[str, float | None] = field(default_factory=dict)

    @property
    def figure(self) -> float:
        """The figure of the run; not a number where it is not defined."""
        found = self.metrics.get(self.metric) if self.metric else self.mean
        return math.nan if found is None else found

    @property
    def mean(self) -> float:
        """The mean of the scores of all test examples."""
        if self.scores:
            return sum(self.scores) / len(self.scores)
        totals = [*self.sums.values(), self.unnamed]
        return sum(total for total, _ in totals) / max(1, sum(count for _, count in totals))

    def of_clients(self, held: Partition) -> dict[str, float | None]:
        """The figure of each client's own test examples; ``None`` for one that holds none or does not tell, or where
        it is not defined."""
        if self.metric:
            return {name: self.clients.get(name) for name in held.names}
        if not self.scores:
            known = {name: total / count for name, (total, count) in self.sums.items() if count}
            return {name: known.get(name) for name in held.names}
        return {
            name: sum(self.scores[index] for index in mine) / len(mine) if mine else None
            for name, mine in zip(held.names, held.test, strict=True)
        }


def facts(scores: Scores) -> dict[str, float]:
    """What a checkpoint says of its evaluation beside the figure of the run."""
    found = {METRIC + name: value for name, value in scores.metrics.items() if value is not None}
    return found if scores.unparsed is None else found | {UNPARSED: scores.unparsed}


def named(task: Task) -> str:
    """The run's figure where it is one of ``task.metrics``; empty: it is the mean of the scores."""
    return task.metric if task.metric in task.metrics else ""


def figures(task: Task, samples: Sequence[Sample], answered: Sequence[Answered]) -> dict[str, float | None]:
    """All of ``task.metrics``."""
    return {name: metric(samples, answered) for name, metric in task.metrics.items()}


def of_all(task: Task, samples: Sequence[Sample], answered: Sequence[Answered], held: Partition) -> Scores:
    """The scores of a test half whose answers are here.

    Raises:
        FedloomError: the figure of the run is not defined.
    """
    found = Scores(
        [one.answer for one in answered],
        [one.score for one in answered],
        read=[one.read for one in answered] if task.read else [],
        weights=[list(one.weights) for one in answered] if task.metrics else [],
        unparsed=unparsed(answered) / max(1, len(answered)),
        metric=named(task),
        metrics=figures(task, samples, answered),
        clients=of_each(task, samples, answered, held),
    )
    return _defined(found, f"the {len(samples)} test examples")


def of_each(
    task: Task, samples: Sequence[Sample], answered: Sequence[Answered], held: Partition
) -> dict[str, float | None]:
    """The run's metric of each client's own examples, where it is no mean of scores."""
    if not named(task):
        return {}
    metric = task.metrics[task.metric]
    return {
        name: metric([samples[index] for index in mine], [answered[index] for index in mine]) if mine else None
        for name, mine in zip(held.names, held.test, strict=True)
    }


def weighted(figures: Sequence[tuple[float, int]]) -> float | None:
    """The mean of clients' figures by their number of examples, ``sum_k n_k f_k / sum_k n_k``; ``None`` of none."""
    count = sum(tested for _, tested in figures)
    return sum(figure * tested for figure, tested in figures) / count if count else None


def gathered(task: Task, told: Mapping[str, Told]) -> Scores:
    """The scores that clients told of their own examples. Of those who tell theirs only as a part of a sum there must
    be two at least, for the sum and for each figure: one alone is left out.

    Raises:
        FedloomError: the figure of the run is not defined at any client.
    """
    sums = {name: [one.score, one.tested] for name, one in told.items() if one.alone}
    private = {name: one for name, one in told.items() if not one.alone}
    missing = {}
    if len(private) == 1:
        (name,) = private
        missing[name] = f"client {name!r}: it tells its score only as a part of a sum, and it is the only one."
        private.clear()
    count = float(sum(one.tested for one in private.values()))
    known = [one for name, one in told.items() if name not in missing]
    found = Scores(
        [],
        [],
        sums={name: [float(total), tested] for name, (total, tested) in sums.items()},
        unnamed=[sum((one.score for one in private.values()), 0.0), count],
        missing=missing | _undefined(task, told),
        unparsed=sum(one.unparsed for one in known) / max(1, sum(one.tested for one in known)),
        metric=named(task),
        metrics={name: _over_clients(name, told, private) for name in task.metrics},
    )
    if not found.metric or not known:
        return found
    clients = {name: told[name].metrics.get(found.metric) for name in sums}
    return _defined(replace(found, clients=clients), "any client's test examples")


def _over_clients(metric: str, told: Mapping[str, Told], private: Mapping[str, Told]) -> float | None:
    """The weighted mean of a metric over the clients where it is defined."""
    alone = [(one.metrics[metric], one.tested) for one in told.values() if one.alone and metric in one.metrics]
    summed = [(one.metrics[metric], one.tested) for one in private.values() if metric in one.metrics]
    if len(summed) == 1:
        _log.warning(
            "evaluation: of the clients that tell figures only as a part of a sum one alone has the metric %s: it is "
            "left out.",
            metric,
        )
        summed = []
    return weighted([*alone, *summed])


def _undefined(task: Task, told: Mapping[str, Told]) -> dict[str, str]:
    """Who is left out of the mean of the run's metric. One that tells figures only in sums is not named: that its
    metric is not defined tells of its examples."""
    metric = named(task)
    return {
        name: f"client {name!r}: {metric} is not defined over its {one.tested} test examples; it is left out of the "
        "mean over clients."
        for name, one in told.items()
        if metric and one.alone and metric not in one.metrics
    }


def _defined(found: Scores, over: str) -> Scores:
    if found.metric and found.metrics[found.metric] is None:
        raise FedloomError(
            f"{found.metric} is not defined over {over}, so nothing could be measured. Fix: measure on more examples "
            "(evaluation.limit), of every class."
        )
    return found
