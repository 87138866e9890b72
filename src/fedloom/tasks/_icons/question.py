"""A question about a drawn scene, and how a skill's draws become one of the three kinds of IconQA.

Every question is worded in ``WORDINGS`` ways. All but the last are public: pre-training sees them; the last is kept
for the clients.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from fedloom.core.contracts import Form
from fedloom.tasks._common import LETTERS
from fedloom.tasks._icons.deal import one, some
from fedloom.tasks._icons.scene import Scene

Kind = Form
Wordings = tuple[str, str, str]
"""The ways to word one question; the last is the private one."""

WORDINGS = 3


@dataclass(frozen=True)
class Question:
    """A question about ``scene`` with its one right ``answer``.

    ``choose_txt``: ``answer`` is one of ``choices``. ``choose_img``: the letter of one of ``choice_scenes``.
    ``fill_in_blank``: a short word or number.
    """

    skill: str
    kind: Kind
    wording: int
    scene: Scene
    text: str
    answer: str
    choices: tuple[str, ...] = ()
    choice_scenes: tuple[Scene, ...] = ()


@dataclass(frozen=True)
class Words:
    """A question that words answer: the right one, and wrong ones to choose among (each surely wrong).

    ``open`` is false where the question makes no sense without its choices.
    """

    scene: Scene
    text: str
    right: str
    wrong: Sequence[str]
    open: bool = True


@dataclass(frozen=True)
class Pictures:
    """A question that a picture answers: the right one, and wrong ones (each surely wrong)."""

    scene: Scene
    text: str
    right: Scene
    wrong: Sequence[Scene]


Make = Callable[[np.random.Generator, Sequence[str], Kind, int], Question]
Drawer = Callable[[np.random.Generator, str, int], Words]
PictureDrawer = Callable[[np.random.Generator, str, int], Pictures]


def maker(skill: str, words: Drawer, pictures: PictureDrawer) -> Make:
    """The ``make(rng, packs, kind, wording)`` of a skill, from its two draws."""

    def make(rng: np.random.Generator, packs: Sequence[str], kind: Kind, wording: int) -> Question:
        pack = one(rng, packs)
        if kind == "choose_img":
            picture = pictures(rng, pack, wording)
            scenes = [picture.right, *some(rng, picture.wrong, int(rng.integers(2, 4)))]
            order = rng.permutation(len(scenes))
            return Question(
                skill,
                kind,
                wording,
                picture.scene,
                picture.text,
                LETTERS[int(np.flatnonzero(order == 0)[0])],
                choice_scenes=tuple(scenes[i] for i in order),
            )
        drawn = words(rng, pack, wording)
        while kind == "fill_in_blank" and not drawn.open:
            drawn = words(rng, pack, wording)
        if kind == "fill_in_blank":
            return Question(skill, kind, wording, drawn.scene, drawn.text, drawn.right)
        choices = [drawn.right, *some(rng, drawn.wrong, int(rng.integers(2, 5)))]
        return Question(
            skill, kind, wording, drawn.scene, drawn.text, drawn.right, tuple(some(rng, choices, len(choices)))
        )

    make.__doc__ = f"Draw a question of the skill {skill}."
    return make
