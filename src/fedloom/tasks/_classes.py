"""What tasks of naming a picture's class share: names, captions, ensembles, and classes that nobody trains on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Annotated

from pydantic import Field

from fedloom.core.contracts import Answered, Data, Example, Metric, Picture, Sample, Task
from fedloom.core.errors import FedloomError
from fedloom.core.metrics import accuracy_where, mean_of_classes
from fedloom.core.seeds import Seeds
from fedloom.core.shares import count
from fedloom.tasks._common import asked, exact, literal, offered, prompt
from fedloom.tasks._prompts import Prompts

New = Annotated[float, Field(ge=0, lt=1)]
"""The share of the classes that nobody trains on."""

Share = Annotated[float, Field(gt=0, lt=1)]
"""The share of each class that is tested on."""

QUESTION = "What is in the picture?"
OFFERED = 20
"""Of more classes than these the prompt of a model that answers in text names none."""
BASE, NEW = "base", "new"


@dataclass(frozen=True)
class Classes:
    """The classes of a data set. ``labels``: what it calls them; ``new``: the share of them, the last in order, that
    are tested on alone; ``question``: what is asked of a picture."""

    task: str
    labels: tuple[str, ...]
    prompts: Prompts
    new: float = 0.0
    question: str = QUESTION

    @cached_property
    def names(self) -> tuple[str, ...]:
        """What the classes are called, in the order of ``labels``.

        Raises:
            FedloomError: fewer than two classes, two that have one name, or a share that leaves fewer than two of
                either kind.
        """
        if len(self.labels) < 2:
            raise FedloomError(
                f"tasks: {self.task!r}: the data have one class, {', '.join(self.labels)!r}; expected two or more."
            )
        by_name: dict[str, str] = {}
        for label in self.labels:
            name = self.prompts.called(label)
            other = by_name.setdefault(name.casefold(), label)
            if other != label:
                raise FedloomError(
                    f"tasks: {self.task!r}: the classes {other!r} and {label!r} are both called {name!r}. Rename one, "
                    "or give both a name in the table [names] of a prompts file (task.prompts = 'my.toml')."
                )
        if self.new and not 2 <= self.trained <= len(self.labels) - 2:
            raise FedloomError(
                f"tasks: {self.task!r}: new = {self.new:g} leaves {self.trained} of {len(self.labels)} classes to "
                "train on; expected at least two of them, and two that are new."
            )
        return tuple(map(self.prompts.called, self.labels))

    @property
    def trained(self) -> int:
        """How many classes are trained on: the first."""
        return len(self.labels) - count(self.new, len(self.labels))

    def sample(self, id: str, picture: Picture, label: str, **meta: str) -> Sample:
        """A picture of a class. Its choices are the classes that are trained on or, where its own is new, the new ones
        (base-to-new: Zhou et al. 2022, arXiv 2203.05557, section 4.1)."""
        place = self.labels.index(label)
        known = place < self.trained
        choices = self.names[: self.trained] if known else self.names[self.trained :]
        told = {"classes": BASE if known else NEW} if self.new else {}
        answer = self.names[place]
        return Sample(id, (picture,), None, self.question, choices, answer, meta={**meta, **told, "label": answer})


def tested(groups: Sequence[str], share: float, seeds: Seeds, task: str) -> set[int]:
    """Which of several records are tested on: a ``share`` of each group, but at least one where it has two.

    Args:
        groups: the group of each record, such as its label.
        share: of each group.
        seeds: what draws them, each group by a stream of its own.
        task: its name, for the streams.
    """
    members: dict[str, list[int]] = {}
    for place, group in enumerate(groups):
        members.setdefault(group, []).append(place)
    found = set[int]()
    for group, places in members.items():
        size = min(len(places) - 1, max(1, count(share, len(places))))
        order = seeds.numpy(f"tasks/{task}/{group}").permutation(len(places)).tolist()
        found.update(places[turn] for turn in order[:size])
    return found


def classed(
    name: str, load: Callable[[], Data], names: Callable[[], tuple[str, ...]], prompts: Prompts, new: float
) -> Task:
    """The task of naming classes. Its figure is accuracy, beside which the mean over the classes stands; with new
    classes it is the harmonic mean of the accuracies on either kind. No new class is trained on."""

    def trained() -> Data:
        data = load()
        return Data(tuple(sample for sample in data.train if sample.meta.get("classes") != NEW), data.test)

    whole = partial(Task, name, load=trained, word=partial(word, prompts=prompts), score=exact, classes=names)
    if not new:
        return whole(metric="accuracy", metrics={"mean of classes": mean_of_classes})
    parts = {kind: accuracy_where("classes", kind) for kind in (BASE, NEW)}
    both = _harmonic(*parts.values())
    return whole(metric="harmonic mean", metrics={"harmonic mean": both, **parts, "mean of classes": mean_of_classes})


def word(sample: Sample, prompts: Prompts) -> Example:
    """``<image>\\nQuestion: What is in the picture? Choices: cat, dog. Answer:``, and for a contrastive model the
    caption that is trained on and the others of the ensemble that is tested with."""
    images = sample.images or ()
    choices = offered(sample.choices) if len(sample.choices) <= OFFERED else None
    text = prompt(len(images), sample.text, asked(sample.question), choices)
    before = f"{literal(sample.text)} " if sample.text else ""
    caption, *ensemble = (before + template for template in prompts.templates)
    return Example(sample.id, images, text, sample.choices, sample.answer, caption, ensemble=tuple(ensemble))


def _harmonic(*parts: Metric) -> Metric:
    """The harmonic mean of figures, 0 where one is; ``None`` where one is not defined."""

    def metric(samples: Sequence[Sample], answered: Sequence[Answered]) -> float | None:
        found = [figure for part in parts if (figure := part(samples, answered)) is not None]
        if len(found) < len(parts):
            return None
        return len(found) / sum(1 / each for each in found) if all(found) else 0.0

    return metric
