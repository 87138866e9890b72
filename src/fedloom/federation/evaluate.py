"""Evaluation: every test example is answered by the adapter of the client that holds it.

Where the whole adapter is shared that is one adapter for all; where clients keep a part of it, each has its own. The
server answers, or, where it has no data or must not see what clients keep, the clients do.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace

from fedloom.core import wire
from fedloom.core.contracts import Answered, Engine, Parcel, Reply, State, Tree
from fedloom.core.errors import FedloomError
from fedloom.federation import answers
from fedloom.federation.facts import METRIC, UNPARSED, Told, check_scores, costs_the_reply, split_bytes
from fedloom.federation.kept import Kept
from fedloom.federation.messages import Outbox
from fedloom.federation.order import in_order
from fedloom.federation.scores import Scores, figures, gathered, of_all
from fedloom.federation.setup import Setup
from fedloom.federation.start import own_model


def evaluator(setup: Setup, kept: Kept, engine: Engine) -> "Evaluator | AtClients":
    """Who answers the test half: ``evaluation.where``; where all data is in one place, whoever has it."""
    return Evaluator(setup, kept) if answers_here(setup) else AtClients(setup, engine)


def answers_here(setup: Setup) -> bool:
    """Whether the test half is answered in the server's process."""
    return setup.experiment.evaluation.where == "server" or setup.method.pooled


@dataclass
class AtClients:
    """Has each client answer its own test examples; sums of scores and figures of them come back, no answers."""

    setup: Setup
    engine: Engine

    def state(self, state: State, round: int, counted: Mapping[str, int]) -> Scores:
        """Scores after ``round`` rounds (0: zero-shot), each client with its own model.

        Raises:
            FedloomError: no client answered, or none has the figure of the run.
        """
        tested = [name for name, mine in zip(*self._held(), strict=True) if mine]
        cohort = [self.setup.clients[name] for name in tested]
        outbox = Outbox(self.setup, round, state, cohort, counted, "evaluate")
        if not cohort:
            raise FedloomError("evaluation: no client has a test example; nothing could be measured.")
        up, split = 0, Counter[str]()
        missing, told = dict[str, str](), dict[str, Told]()
        for info, reply in in_order(iter(self.engine.exchange(outbox.jobs())), cohort):
            up += len(reply.parcel)
            if info is None:  # a late one, of a round before
                missing[f"{reply.client} (late)"] = reply.error
                continue
            try:
                told[info.name], traffic = _opened(self.setup, reply, len(self._test(info.name)))
            except FedloomError as error:
                missing[info.name] = str(error)
                continue
            split.update(traffic)
        with _named(f"evaluation after round {round}"):
            found = gathered(self.setup.task, told)
        missing |= found.missing
        if not found.sums and not found.unnamed[1]:
            raise FedloomError(f"evaluation after round {round}: nobody answered. {'; '.join(missing.values())}")
        down = sum(sum(parts.values()) for parts in outbox.sizes.values())
        found = replace(found, missing=missing, bytes_up=up, bytes_down=down)
        return replace(found, split_up=split["split_up"], split_down=split["split_down"])

    def _held(self) -> tuple[list[str], list[list[int]]]:
        return self.setup.partition.names, self.setup.partition.test

    def _test(self, name: str) -> list[int]:
        return dict(zip(*self._held(), strict=True))[name]


def _opened(setup: Setup, reply: Reply, tested: int) -> tuple[Told, dict[str, int]]:
    """What a client says of its test examples, and its traffic with a host.

    Raises:
        FedloomError: no reply, or one that is not what was asked for.
    """
    if reply.error:
        raise FedloomError(reply.error)
    try:
        with costs_the_reply():
            parcel = wire.unpack(reply.parcel, max_bytes=wire.MAX_HEADER)
            told = check_scores(parcel, tested, setup.task.metrics, setup.task.read is not None)
            return told, split_bytes(parcel)
    except FedloomError as error:
        raise FedloomError(f"client {reply.client!r}: {error}") from error


def answered(setup: Setup, client: str, received: Parcel, kept: dict[str, Tree], *, zero_shot: bool = False) -> Parcel:
    """A client's reply to being evaluated: the sum of its scores on its own test examples, with its own model; how
    many answers could not be parsed, where the task parses them; and the task's figures that are defined there."""
    samples, task = setup.test_samples(client), setup.task
    setup.backbone.write(*own_model(setup, setup.start(setup.clients[client]), received, kept))
    with without_adapter(setup) if zero_shot else nullcontext():
        found = answers.of_model(setup, samples, setup.worded(samples))
    facts: dict[str, int | float | str] = {"tested": len(samples), "score": sum(one.score for one in found)}
    if task.read:
        facts[UNPARSED] = answers.unparsed(found)
    told = figures(task, samples, found)
    return Parcel({}, facts | {METRIC + name: value for name, value in told.items() if value is not None})


@dataclass
class Evaluator:
    """Answers the test half with any state of the server; words its examples once."""

    setup: Setup
    kept: Kept

    def __post_init__(self) -> None:
        self.examples = self.setup.worded(self.setup.data.test)

    def state(self, state: State, round: int, counted: Mapping[str, int]) -> Scores:
        """Scores after ``round`` rounds: of the global adapter, with each client's own part where it has one.

        Round 0 is the adapter that everyone starts from: the model's own scores, zero-shot. One adapter is in memory
        at a time, however many clients have their own.

        Raises:
            FedloomError: a model that does not answer, such as one that diverged: the round, and whose it is; a figure
                that is not defined.
        """
        if round == 0:
            with _named("zero-shot, before round 1"), without_adapter(self.setup):
                return self._scored(self._answers(range(len(self.examples)), self.setup.initial, None))
        initial, sent = self.setup.initial, self.setup.method.server.send(state, None)
        own_models = keep_their_own(self.setup)
        found: dict[int, Answered] = {}
        common: list[int] = []
        for name, mine in zip(self.setup.partition.names, self.setup.partition.test, strict=True):
            kept = self.kept.read(name, counted.get(name, 0)) if own_models and mine else {}
            if "adapter" in kept or "personal" in kept:
                with _named(f"evaluation after round {round}, the model of client {name!r}"):
                    found |= self._answers(mine, *own_model(self.setup, initial, sent, kept))
            else:
                common += mine
        everyone = own_model(self.setup, initial, sent)
        told = ", ".join(repr(name) for name, last in counted.items() if last == round)
        with _named(f"evaluation after round {round}, the global model (of clients {told})"):
            return self._scored(found | self._answers(sorted(common), *everyone))

    def scored(self, given: Sequence[str], weights: Sequence[tuple[float, ...]]) -> Scores:
        """The scores of answers to all test examples that are known already, with the weights of their choices.

        Raises:
            FedloomError: a figure that is not defined.
        """
        samples = self.setup.data.test
        found = [answers.judged(self.setup.task, *one) for one in zip(samples, given, weights, strict=True)]
        with _named("zero-shot, before round 1"):
            return self._scored(dict(enumerate(found)))

    def _answers(self, indices: Sequence[int], adapter: Tree, base: Tree | None) -> dict[int, Answered]:
        """One adapter's answers to some of the test examples, by index."""
        if not indices:
            return {}
        self.setup.backbone.write(adapter, base)
        samples = [self.setup.data.test[index] for index in indices]
        examples = [self.examples[index] for index in indices]
        return dict(zip(indices, answers.of_model(self.setup, samples, examples), strict=True))

    def _scored(self, found: dict[int, Answered]) -> Scores:
        ordered = [found[index] for index in range(len(self.examples))]
        scores = of_all(self.setup.task, self.setup.data.test, ordered, self.setup.partition)
        return replace(scores, ids=[example.id for example in self.examples])


def without_adapter(setup: Setup) -> AbstractContextManager[None]:
    """While it lasts, the model is as it was before the adapter, where the backbone can tell."""
    found: AbstractContextManager[None] = getattr(setup.backbone, "without_adapter", nullcontext)()
    return found


@contextmanager
def _named(what: str) -> Iterator[None]:
    """Have an error say whose answers were asked for, and after which round."""
    try:
        yield
    except FedloomError as error:
        raise FedloomError(f"{what}: {error}") from error


def keep_their_own(setup: Setup) -> bool:
    """Whether clients have an adapter of their own: a part that learns and is not shared, or a second adapter."""
    method = setup.method
    unshared = any(method.trains(name) and not method.shares(name) for name in setup.initial)
    return unshared or method.local.personal is not None


def keeps(setup: Setup) -> bool:
    """Whether each of a client's turns leaves something with it that its next one needs."""
    return keep_their_own(setup) or setup.method.local.keep is not None or setup.up.feeds_back
