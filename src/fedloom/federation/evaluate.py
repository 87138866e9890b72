"""Evaluation: every test example is answered by the adapter of the client that holds it.

Where the whole adapter is shared that is one adapter for all; where clients keep a part of it, each has its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fedloom.core import tree as trees
from fedloom.core.contracts import Sample, State, Tree
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
        return self._scored(self._answers(range(len(self.examples)), self.setup.initial, None))

    def state(self, state: State, round: int) -> Scores:
        """Scores after ``round`` rounds: of the global adapter, with each client's own part where it has one.

        One adapter is in memory at a time, however many clients have their own.
        """
        sent = self.setup.method.server.send(state, None).trees
        everyone = self.setup.initial | trees.select(sent["adapter"], self.setup.method.shares)
        base, personal = sent.get("base"), keep_their_own(self.setup)
        answers: dict[int, str] = {}
        common: list[int] = []
        for name, mine in zip(self.setup.partition.names, self.setup.partition.test, strict=True):
            own = self.kept.read(name, before=round + 1).get("adapter", {}) if personal and mine else {}
            if own:
                answers |= self._answers(mine, everyone | own, base)
            else:
                common += mine
        return self._scored(answers | self._answers(sorted(common), everyone, base))

    def _answers(self, indices: Sequence[int], adapter: Tree, base: Tree | None) -> dict[int, str]:
        """One adapter's answers to some of the test examples, by index."""
        if not indices:
            return {}
        self.setup.backbone.write(adapter, base)
        found = self.setup.backbone.answer([self.examples[index] for index in indices])
        return dict(zip(indices, found, strict=True))

    def _scored(self, answers: dict[int, str]) -> Scores:
        ordered = [answers[index] for index in range(len(self.examples))]
        return Scores(ordered, score(self.setup, self.setup.data.test, ordered))


def keep_their_own(setup: Setup) -> bool:
    """Whether clients keep a part of the adapter: one that learns and is not shared."""
    method = setup.method
    return any(method.trains(name) and not method.shares(name) for name in setup.initial)


def score(setup: Setup, samples: Sequence[Sample], answers: Sequence[str]) -> list[float]:
    """The task's score of each answer."""
    return [setup.task.score(sample, answer) for sample, answer in zip(samples, answers, strict=True)]
