"""What a model makes of examples, as the task reads it."""

from types import SimpleNamespace
from typing import cast

import pytest

from fedloom.core.errors import FedloomError
from fedloom.federation.answers import of_model, unparsed
from fedloom.federation.setup import Setup
from tests.federation import toy


def test_probabilities_are_asked_for_only_where_the_task_has_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    setup = Setup(toy.experiment("task=tests.federation.toy:figured", "task.mute=yes"))
    samples = setup.data.test
    found = of_model(setup, samples, setup.worded(samples))
    assert [one.weights for one in found] == [(0.5, 0.5)] * 9  # B = 0: all alike, and the first is chosen
    assert [(one.answer, one.read, one.score) for one in found] == [("yes", None, 0.0)] * 9
    assert unparsed(found) == 9
    monkeypatch.delattr(toy.Toy, "weighed")
    plain = Setup(toy.experiment())
    assert {one.weights for one in of_model(plain, samples, plain.worded(samples))} == {()}


def test_a_model_that_tells_none_is_refused_and_named() -> None:
    task = toy.figured()
    setup = SimpleNamespace(task=task, backbone=SimpleNamespace(name="own", answer=lambda examples: ["yes"]))
    sample = task.load().test[0]
    told = r"task 'toy' has the metric 'auc'.*the model 'own' tells none\. Fix: give it weighed"
    with pytest.raises(FedloomError, match=told):
        of_model(cast(Setup, setup), [sample], [task.word(sample)])
