"""Drawing the samples of the three icons-qa tasks.

Clients hold what pre-training has not seen: by default the private packs and the private wording of every skill.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from fedloom.core import limits
from fedloom.core.contracts import Data, Example, Sample, Task
from fedloom.core.errors import FedloomError
from fedloom.core.seeds import Seeds
from fedloom.tasks._common import LETTERS, check_names
from fedloom.tasks._icons.packs import PACKS, PRIVATE
from fedloom.tasks._icons.question import Kind, Question
from fedloom.tasks._icons.scene import Scene, draw
from fedloom.tasks._icons.skills import SKILLS, Which, question

Count = Annotated[int, Field(ge=1)]
Packs = tuple[str, ...]
Skills = tuple[str, ...]

ALL_PRIVATE: Packs = tuple(PRIVATE)
ALL_SKILLS: Skills = tuple(SKILLS)
TRIES = 500
"""Draws for one sample before there are too few different questions."""

Seen = set[tuple[Scene, str]]


@dataclass(frozen=True)
class Options:
    """How many samples each half has, about which packs and skills, in which wordings."""

    kind: Kind
    train: int
    test: int
    packs: Packs
    skills: Skills
    wordings: Which
    seed: int

    @property
    def name(self) -> str:
        """The task's name."""
        return f"icons-qa/{self.kind}"


def task(options: Options, word: Callable[[Sample], Example], score: Callable[[Sample, str], float]) -> Task:
    """The task of one kind.

    Raises:
        FedloomError: an unknown pack or skill.
    """
    check_names(options.name, "packs", options.packs, tuple(PACKS))
    check_names(options.name, "skills", options.skills, ALL_SKILLS)
    return Task(options.name, "accuracy", lambda: load(options), word, score, form=options.kind)


def load(options: Options) -> Data:
    """Draw both halves; no scene with the same question stands in them twice.

    Raises:
        FedloomError: the options leave too few different questions.
    """
    seen: Seen = set()
    return Data(_half(options, "train", options.train, seen), _half(options, "test", options.test, seen))


def _half(options: Options, half: str, size: int, seen: Seen) -> tuple[Sample, ...]:
    """``size`` samples, dealt evenly over the packs and, within a pack, over the skills."""
    limits.draw(size)
    packs = len(options.packs)
    samples: list[Sample] = []
    for index in range(size):
        limits.tick()
        pack, turn = options.packs[index % packs], index // packs
        skill = options.skills[(turn + index % packs) % len(options.skills)]
        drawn = _fresh(options, f"{half}/{pack}/{turn}", pack, skill, seen)
        samples.append(sample_of(drawn, f"{half}-{pack}-{turn}", pack))
    return tuple(samples)


def _fresh(options: Options, name: str, pack: str, skill: str, seen: Seen) -> Question:
    """A question not seen yet, from the sample's own stream."""
    rng = Seeds(options.seed).numpy(f"tasks/{options.name}/{name}")
    for _ in range(TRIES):
        drawn = question(rng, (pack,), options.kind, (skill,), options.wordings)
        if (drawn.scene, drawn.text) not in seen:
            seen.add((drawn.scene, drawn.text))
            return drawn
    raise FedloomError(
        f"tasks: {options.name!r}: found too few different questions of skill {skill!r} about pack {pack!r}. "
        "Ask for fewer examples (train, test), or for more packs, skills or wordings."
    )


def sample_of(drawn: Question, id: str, pack: str) -> Sample:
    """A drawn question as a sample, its pictures drawn."""
    return Sample(
        id=id,
        images=(draw(drawn.scene),),
        text=None,
        question=drawn.text,
        choices=drawn.choices or tuple(LETTERS[: len(drawn.choice_scenes)]),
        answer=drawn.answer,
        choice_images=tuple(draw(scene) for scene in drawn.choice_scenes),
        meta={"pack": pack, "skill": drawn.skill, "label": drawn.answer, "wording": str(drawn.wording)},
    )
