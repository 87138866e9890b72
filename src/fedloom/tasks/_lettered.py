"""What tasks of lettered choices share: ``(A) not-hateful``, ranked by likelihood or written by the model."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from fedloom.core.contracts import Data, Example, Metric, Picture, Sample, Task
from fedloom.tasks._answers import chosen, lettered
from fedloom.tasks._common import Wording, asked, basis, exact, offered, prompt

Answer = Literal["choose", "generate"]
"""The choices are ranked by their likelihood, or the model writes an answer of its own, which is read."""
DEMAND = "Give the letter and the name of one choice."
"""What is asked of a model that writes its answer."""


@dataclass(frozen=True)
class Lettered:
    """A question with the same choices for every record.

    ``names``: the choices, in the order of their letters. ``caption``: what a contrastive model reads of a choice,
    whose name stands in its braces with spaces.
    """

    names: tuple[str, ...]
    question: str
    caption: str
    answer: Answer
    wording: Wording

    @property
    def choices(self) -> tuple[str, ...]:
        """The choices as they are offered and learnt."""
        return lettered(self.names)

    def sample(self, id: str, picture: Picture, text: str | None, name: str, **meta: str) -> Sample:
        """A record whose answer is the choice of this name."""
        answer = self.choices[self.names.index(name)]
        return Sample(
            id=id,
            images=(picture,),
            text=text,
            question=self.question,
            choices=self.choices,
            answer=answer,
            meta={**meta, "label": answer},
            choice_texts=self.names,
        )

    def word(self, sample: Sample) -> Example:
        """``<image>\\nJudge by the image and the text. "text" Question: what? Choices: (A) one, (B) two. Answer:``.

        Before ``Answer:``, a model that writes its answer is asked for a letter and a name.
        """
        images = sample.images or ()
        quoted = f'"{sample.text}"' if sample.text else None
        choose = self.answer == "choose"
        parts = (basis(sample, self.wording), quoted, asked(sample.question), offered(sample.choices))
        text = prompt(len(images), *parts, None if choose else DEMAND)
        if not choose:
            return Example(sample.id, images, text, (), sample.answer)
        ends = f": {sample.text}" if sample.text else ""
        captions = tuple(self.caption.format(name.replace("_", " ")) + ends for name in self.names)
        return Example(sample.id, images, text, sample.choices, sample.answer, captions=captions)

    def read(self, sample: Sample, answer: str) -> str | None:
        """The choice that an answer names, ``None`` where it names none."""
        number = chosen(answer, self.names)
        return None if number is None else self.choices[number]

    def task(self, name: str, metric: str, metrics: Mapping[str, Metric], load: Callable[[], Data]) -> Task:
        """The task: an answer that names no choice is wrong."""
        if self.answer == "choose":
            return Task(name, metric, load, self.word, exact, self._classes, metrics)
        return Task(name, metric, load, self.word, self._score, self._classes, metrics, self.read)

    def _score(self, sample: Sample, answer: str) -> float:
        return float(self.read(sample, answer) == sample.answer)

    def _classes(self) -> tuple[str, ...]:
        return self.choices
