"""icons-memes: is a meme kind or mean? Its picture and its caption tell only together.

A caption calls for a thing; a picture that shows it keeps the promise, one that shows something else mocks it. Memes
are drawn in fours, from two captions and two pictures:

                    picture of a    picture of b
    calls for a        kind            mean
    calls for b        mean            kind

so each picture and each caption is kind exactly as often as it is mean, and either alone is at chance.
"""

from functools import partial
from typing import Annotated

import numpy as np
from pydantic import Field

from fedloom.core import limits
from fedloom.core.contracts import Data, Example, Sample, Task
from fedloom.core.metrics import hard_auc, soft_auc
from fedloom.core.seeds import Seeds
from fedloom.tasks._common import Wording, asked, basis, check_names, exact, literal, offered, prompt
from fedloom.tasks._icons.deal import one, some, somewhere
from fedloom.tasks._icons.packs import PACKS, PRIVATE
from fedloom.tasks._icons.scene import draw
from fedloom.tasks._icons.words import nouns, one_of, plural

Count = Annotated[int, Field(ge=4, multiple_of=4)]

NAME = "icons-memes"
QUESTION = "Is this meme kind or mean?"
CHOICES = ("kind", "mean")
CAPTIONS = (
    "All I want today is {one}.",
    "Finally, {one} just for me!",
    "Everybody needs {one}.",
    "Nothing is better than {one}.",
    "Who said {one}? Here you are!",
    "My love for {many} never ends.",
    "More {many} for everyone!",
    "Here come the {many}!",
    "You asked for {many}, my friend.",
    "Life is good with {many}.",
)


def icons_memes(
    train: Count = 1200,
    test: Count = 600,
    packs: tuple[str, ...] = tuple(PRIVATE),
    seed: int = 0,
    wording: Wording = "plain",
) -> Task:
    """Tell kind memes from mean ones: the label needs picture and caption, each alone is at chance.

    ``train`` and ``test`` are multiples of four, the size of a balanced set of memes. ``wording``: whether the prompt
    names the modalities that are there (``named``), says that modality is not to be considered (``agnostic``), or
    neither (``plain``). Beside the accuracy there are the figures of ``hateful-memes``, mean memes being the hateful.

    Raises:
        FedloomError: an unknown pack.
    """
    check_names(NAME, "packs", packs, tuple(PACKS))

    def load() -> Data:
        return Data(_half("train", train, packs, seed), _half("test", test, packs, seed))

    metrics = {"AUC": hard_auc(CHOICES[1]), "soft AUC": soft_auc(CHOICES[1])}
    return Task(NAME, "accuracy", load, partial(word, wording=wording), exact, metrics=metrics)


def word(sample: Sample, wording: Wording = "plain") -> Example:
    """``<image>\\n"caption" Question: Is this meme kind or mean? Choices: kind, mean. Answer:``, with what the wording
    adds before the caption."""
    images = sample.images or ()
    quoted = f'"{sample.text}"' if sample.text else None
    text = prompt(len(images), basis(sample, wording), quoted, asked(sample.question), offered(sample.choices))
    caption = f"a {{}} meme: {literal(sample.text)}" if sample.text else "a {} meme"
    return Example(sample.id, images, text, sample.choices, sample.answer, caption)


def _half(half: str, size: int, packs: tuple[str, ...], seed: int) -> tuple[Sample, ...]:
    """``size`` memes in fours, dealt evenly over the packs."""
    limits.draw(size)
    samples: list[Sample] = []
    for four in range(size // 4):
        limits.tick()
        pack, turn = packs[four % len(packs)], four // len(packs)
        rng = Seeds(seed).numpy(f"tasks/{NAME}/{half}/{pack}/{turn}")
        samples += _four(rng, pack, f"{half}-{pack}-{turn}")
    return tuple(samples)


def _four(rng: np.random.Generator, pack: str, id: str) -> list[Sample]:
    """Two captions times two pictures."""
    pair = some(rng, nouns(pack), 2)
    captions = [one(rng, CAPTIONS).format(one=one_of(thing), many=plural(thing)) for thing in pair]
    pictures = [draw(somewhere(rng, pack, thing, 0.7, 0.95)) for thing in pair]
    return [
        Sample(
            id=f"{id}-{called}{shown}",
            images=(pictures[shown],),
            text=captions[called],
            question=QUESTION,
            choices=CHOICES,
            answer=CHOICES[called != shown],
            meta={"pack": pack, "label": CHOICES[called != shown]},
        )
        for called in range(2)
        for shown in range(2)
    ]
