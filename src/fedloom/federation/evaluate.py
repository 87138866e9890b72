"""Evaluation: every test example is answered by the adapter of the client that holds it.

Where the whole adapter is shared that is one adapter for all; where clients keep a part of it, each has its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fedloom.core import tree as trees
from fedloom.core.contracts import Example, Sample, State, Tree
from fedloom.core.partition import Partition
from fedloom.federation.kept import Kept
from fedloom.federation.setup import Setup


@dataclass(frozen=True)
class Scores:
    """Answer and score of every test example, in the order of the test half."""

    answers: list[str]
    scores: list[float]

    @property
    def mean(self) -> float:
        """The metric over all test examples."""
        return sum(self.scores) / len(self.scores) if self.scores else 0.0

    def of_clients(self, held: Partition) -> dict[str, float | None]:
        """The metric over each client's own test examples; ``None`` for a client that holds none."""
        return {
            name: sum(self.scores[index] for index in mine) / len(mine) if mine else None
            for name, mine in zip(held.names, held.test, strict=True)
        }


@dataclass
class Evaluator:
    """Answers the test half with any state of the server; words its examples once."""

    setup: Setup
    kept: Kept

    def __post_init__(self) -> None:
        self.examples = self.setup.worded(self.setup.data.test)

    def start(self) -> Scores:
        """Scores of the adapter that everyone starts from: the model's own, zero-shot."""
        return self._scores(dict.fromkeys(range(len(self.examples)), (self.setup.initial, None)))

    def state(self, state: State, round: int) -> Scores:
        """Scores after ``round`` rounds: of the global adapter, with each client's own part where it has one."""
        sent = self.setup.method.server.send(state, None).trees
        shared, base = trees.select(sent["adapter"], self.setup.method.shares), sent.get("base")
        everyone = self.setup.initial | shared
        adapters: dict[int, tuple[Tree, Tree | None]] = {}
        for name, mine in zip(self.setup.partition.names, self.setup.partition.test, strict=True):
            own = self.kept.read(name, before=round + 1).get("adapter", {}) if mine else {}
            adapter = everyone | own if own else everyone
            adapters |= dict.fromkeys(mine, (adapter, base))
        return self._scores(adapters)

    def _scores(self, adapters: dict[int, tuple[Tree, Tree | None]]) -> Scores:
        """Answer the examples adapter by adapter, in the order of the test half within each."""
        groups: dict[int, list[int]] = {}
        for index in sorted(adapters):
            groups.setdefault(id(adapters[index][0]), []).append(index)
        answers = [""] * len(self.examples)
        for members in groups.values():
            self.setup.backbone.write(*adapters[members[0]])
            for index, answer in zip(members, self._answers([self.examples[i] for i in members]), strict=True):
                answers[index] = answer
        return Scores(answers, score(self.setup, self.setup.data.test, answers))

    def _answers(self, examples: Sequence[Example]) -> list[str]:
        size = self.setup.experiment.evaluation.batch_size
        found: list[str] = []
        for begin in range(0, len(examples), size):
            found += self.setup.backbone.answer(examples[begin : begin + size])
        return found


def score(setup: Setup, samples: Sequence[Sample], answers: Sequence[str]) -> list[float]:
    """The task's score of each answer."""
    return [setup.task.score(sample, answer) for sample, answer in zip(samples, answers, strict=True)]
