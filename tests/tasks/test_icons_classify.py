"""icons-classify: every class that a pack draws stands in both halves, in other pictures."""

from collections import Counter

from fedloom.core import resolve
from fedloom.tasks._icons.packs import classes, things


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
