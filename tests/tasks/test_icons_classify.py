"""icons-classify: every class that a pack draws stands in both halves, in other pictures."""

from collections import Counter

import numpy
import pytest

from fedloom.core import resolve
from fedloom.core.contracts import Task
from fedloom.core.errors import FedloomError
from fedloom.tasks._icons.packs import classes, things
from fedloom.tasks._icons.words import spoken


def test_each_pack_gives_its_own_classes_the_asked_number_of_times() -> None:
    data = resolve.build("tasks", "icons-classify", {"packs": ["typicons"], "train_shots": 2}).load()
    names = {thing.replace("-", " ") for thing in things("typicons")}
    assert Counter(s.answer for s in data.train) == dict.fromkeys(names, 2)
    assert Counter(s.answer for s in data.test) == dict.fromkeys(names, 1)
    assert len(data.train[0].choices) == len(classes()) == 377


def test_a_contrastive_model_gets_a_caption_for_each_class() -> None:
    task = resolve.build("tasks", "icons-classify", {"packs": ["elusive"]})
    example = task.word(task.load().train[0])
    assert example.caption.format("map pin") == "a map pin icon"
    assert example.prompt == "<image>\nQuestion: What icon is this? Answer:"


def test_new_classes_are_tested_on_alone() -> None:
    """Base-to-new: the last half of the classes is in no training picture, and each half has its own choices."""
    data = resolve.build("tasks", "icons-classify", {"packs": ["typicons"], "new": 0.5}).load()
    names = [thing.replace("-", " ") for thing in classes()]
    base, new = names[:188], names[188:]  # half of 377, rounded
    assert {s.answer for s in data.train} <= set(base)
    for sample in data.test:
        assert list(sample.choices) == (base if sample.answer in base else new)
        assert sample.meta["classes"] == ("base" if sample.answer in base else "new")


def test_some_of_the_classes_are_drawn_by_the_seed() -> None:
    def task(seed: int, number: int) -> Task:
        return resolve.build("tasks", "icons-classify", {"packs": ["lucide"], "classes": number, "seed": seed})

    first = task(0, 60).load()
    choices = first.train[0].choices
    assert len(choices) == 60
    assert choices != task(1, 60).load().train[0].choices
    assert list(choices) == [name for name in map(spoken, classes()) if name in choices]  # in their order
    assert {s.answer for s in first.train} == {spoken(thing) for thing in things("lucide")} & set(choices)
    whole = {sample.id: sample for sample in task(0, 0).load().train}
    assert all(numpy.array_equal(s.images[0], whole[s.id].images[0]) for s in first.train[:5])
    with pytest.raises(FedloomError, match=r"task\.classes = 378: expected at most the 377"):
        task(0, 378)
    with pytest.raises(FedloomError, match="one class"):
        task(0, 1).load()
