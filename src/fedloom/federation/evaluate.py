"""Evaluation: every test example is answered by the adapter of the client that holds it.

Where the whole adapter is shared that is one adapter for all; where clients keep a part of it, each has its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fedloom.core import tree as trees
from fedloom.core.contracts import Parcel, Sample, State, Tree
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
        shared = global_model(self.setup, state)
        own_models = keep_their_own(self.setup)
        answers: dict[int, str] = {}
        common: list[int] = []
        for name, mine in zip(self.setup.partition.names, self.setup.partition.test, strict=True):
            kept = self.kept.read(name, before=round + 1) if own_models and mine else {}
            if "adapter" in kept or "personal" in kept:
                answers |= self._answers(mine, *own_model(self.setup, shared, kept))
            else:
                common += mine
        everyone = own_model(self.setup, shared, {})
        return self._scored(answers | self._answers(sorted(common), *everyone))

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
    """Whether clients have an adapter of their own: a part that learns and is not shared, or a second adapter."""
    method = setup.method
    unshared = any(method.trains(name) and not method.shares(name) for name in setup.initial)
    return unshared or method.local.personal is not None


def global_model(setup: Setup, state: State) -> Parcel:
    """The global model: the whole adapter, and slot ``base`` where there is a change to the base."""
    sent = setup.method.server.send(state, None)
    adapter = setup.initial | trees.select(sent.trees.get("adapter", {}), setup.method.shares)
    return Parcel({**sent.trees, "adapter": adapter}, sent.facts)


def own_model(setup: Setup, shared: Parcel, kept: dict[str, Tree]) -> tuple[Tree, Tree | None]:
    """Adapter and change to the base of a client's own model, from the global model and what the client keeps."""
    whole = Parcel({**shared.trees, "adapter": shared.trees["adapter"] | kept.get("adapter", {})}, shared.facts)
    if setup.method.local.personal:
        return setup.method.local.personal.model(whole, kept.get("personal"), setup.scale)
    return whole.trees["adapter"], whole.trees.get("base")


def score(setup: Setup, samples: Sequence[Sample], answers: Sequence[str]) -> list[float]:
    """The task's score of each answer."""
    return [setup.task.score(sample, answer) for sample, answer in zip(samples, answers, strict=True)]
