"""How a backbone computes."""

from dataclasses import dataclass
from typing import Literal

from fedloom.core.contracts import Objective
from fedloom.models.teacher import Teacher
from fedloom.models.vision.augment import Augment

ANSWER = Objective(lambda outputs: outputs.answers())
"""What is minimised where nothing else is said."""


@dataclass(frozen=True)
class Options:
    """How a backbone computes. ``normalise``: rank choices by mean instead of summed log-likelihood.
    ``max_new_tokens``: the longest free answer. ``answer_batch``: examples answered at once. ``classes``: the answers
    that the task knows, for an adapter that asks for them. ``absent``: what stands in a contrastive model in the
    place of a picture that is not there (``fedloom.models.vision.absent``). ``objective``: what is minimised, with
    its ``teacher``. ``augment``: what a training step does to a contrastive model's pictures."""

    dtype: Literal["float32", "bfloat16"] = "float32"
    normalise: bool = False
    max_new_tokens: int = 16
    answer_batch: int = 32
    classes: tuple[str, ...] = ()
    absent: Literal["refuse", "blank", "learned"] = "refuse"
    objective: Objective = ANSWER
    teacher: Teacher | None = None
    augment: Augment = "none"
