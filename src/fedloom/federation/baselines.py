"""What answers without looking are worth, by the task's own score: a choice at random, and always the same answer."""

from collections import Counter
from statistics import fmean
from typing import Any

from fedloom.federation.setup import Setup

FILE = "baselines.json"


def baselines(setup: Setup) -> dict[str, Any]:
    """The metric's name, ``chance`` and ``majority`` over the test examples, each ``None`` where it makes no sense.

    ``chance``: the expected score of a choice at random, 1 / (number of choices) where one of them is right. It needs
    choices in every example. ``majority``: the score of always giving the most frequent training answer, or the most
    frequent test answer where nothing is trained on (``of`` says which). It needs an answer that is given more than
    once, and that every example with choices offers. What sites hold is not known here: both are ``None``.
    """
    if setup.scenario.sites:
        return {"metric": setup.task.metric, "chance": None, "majority": None}
    return {"metric": setup.task.metric, "chance": _chance(setup), "majority": _majority(setup)}


def _chance(setup: Setup) -> float | None:
    means = []
    for sample in setup.data.test:
        choices = setup.task.word(sample).choices
        if not choices:
            return None
        means.append(fmean(setup.task.score(sample, choice) for choice in choices))
    return fmean(means)


def _majority(setup: Setup) -> dict[str, Any] | None:
    trained = setup.trained
    half = "train" if trained else "test"
    counts = Counter(setup.task.word(sample).answer for sample in trained or setup.data.test)
    answer = min(counts, key=lambda text: (-counts[text], text))
    if counts[answer] < 2:
        return None
    scores = []
    for sample in setup.data.test:
        choices = setup.task.word(sample).choices
        if choices and answer not in choices:
            return None
        scores.append(setup.task.score(sample, answer))
    return {"answer": answer, "of": half, "score": fmean(scores)}
