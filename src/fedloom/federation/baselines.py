"""What answers without looking are worth, by the task's own score: a choice at random, and always the same answer."""

from collections import Counter
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from fedloom.core.contracts import Answered, Sample
from fedloom.federation.answers import judged
from fedloom.federation.evaluate import answers_here
from fedloom.federation.scores import named, of_each, weighted
from fedloom.federation.setup import Setup

FILE = "baselines.json"

DRAWS = 100
"""How often a choice at random is drawn for every test example, where the figure is no mean of scores."""


def baselines(setup: Setup) -> dict[str, Any]:
    """The metric's name, ``chance`` and ``majority`` over the test examples, each ``None`` where it makes no sense.

    ``chance``: the expected score of a choice at random, 1 / (number of choices) where one of them is right. It needs
    choices in every example. ``majority``: the score of giving the most frequent training answer, of the example's
    choices where it has some, or the most frequent test answer where nothing is trained on (``of`` says which);
    ``answer`` is ``None`` where it is not the same to all examples. It needs an answer that is given more than once.
    What sites hold is not known here: both are ``None``. Beside a ``majority`` stand the ``ids`` of the test examples
    and the ``scores`` of its answers.

    Of a figure that is no mean of scores no formula is taken: it is that of answers which are drawn (the mean over
    ``DRAWS`` of them, every choice as likely as any other) or always the same one (with the probability 1), by the same
    metric, over whatever the run's is taken over.
    """
    if setup.scenario.sites:
        return {"metric": setup.task.metric, "chance": None, "majority": None}
    return {"metric": setup.task.metric, "chance": _chance(setup)} | _majority(setup)


def _chance(setup: Setup) -> float | None:
    every = []
    for sample in setup.data.test:
        choices = setup.task.word(sample).choices
        if not choices:
            return None
        alike = (1 / len(choices),) * len(choices)
        every.append([judged(setup.task, sample, choice, alike) for choice in choices])
    if not named(setup.task):
        return fmean(fmean(one.score for one in choices) for choices in every)
    rng = setup.seeds.numpy("baselines/chance")
    counts = [len(choices) for choices in every]
    draws = [[one[place] for one, place in zip(every, rng.integers(counts), strict=True)] for _ in range(DRAWS)]
    found = [value for drawn in draws if (value := _figure(setup, drawn)) is not None]
    return fmean(found) if found else None


def _majority(setup: Setup) -> dict[str, Any]:
    trained = setup.trained
    half = "train" if trained else "test"
    counts = Counter(setup.task.word(sample).answer for sample in trained or setup.data.test)
    if max(counts.values(), default=0) < 2:
        return {"majority": None}

    def rank(answer: str) -> tuple[int, str]:
        return -counts[answer], answer

    most = min(counts, key=rank)
    answers, given = set[str](), []
    for sample in setup.data.test:
        choices = setup.task.word(sample).choices
        answer = min(choices, key=rank) if choices else most
        answers.add(answer)
        sure = tuple(float(place == choices.index(answer)) for place in range(len(choices)))
        given.append(judged(setup.task, sample, answer, sure))
    score = _figure(setup, given)
    if score is None:
        return {"majority": None}
    found = {"answer": answers.pop() if len(answers) == 1 else None, "of": half, "score": score}
    return {
        "majority": found,
        "ids": [sample.id for sample in setup.data.test],
        "scores": [one.score for one in given],
    }


def _figure(setup: Setup, given: Sequence[Answered]) -> float | None:
    """What the run's figure would be with these answers to all test examples."""
    samples: Sequence[Sample] = setup.data.test
    if not named(setup.task):
        return fmean(one.score for one in given)
    if answers_here(setup):
        return setup.task.metrics[setup.task.metric](samples, given)
    held = setup.partition
    found = of_each(setup.task, samples, given, held)
    sizes = dict(zip(held.names, map(len, held.test), strict=True))
    return weighted([(value, sizes[name]) for name, value in found.items() if value is not None])
