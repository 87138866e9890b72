"""icons-qa/choose_img: choose the picture that answers a question about a drawn scene."""

from fedloom.core.contracts import IMAGE, Example, Sample, Task
from fedloom.tasks._common import asked, exact, prompt
from fedloom.tasks._icons.skills import Which
from fedloom.tasks.icons_qa._data import ALL_PRIVATE, ALL_SKILLS, Count, Options, Packs, Skills, task


def choose_img(
    train: Count = 1200,
    test: Count = 600,
    packs: Packs = ALL_PRIVATE,
    skills: Skills = ALL_SKILLS,
    wordings: Which = "private",
    seed: int = 0,
) -> Task:
    """Choose among 3 or 4 pictures the one that answers a question about drawn icons (the 13 skills of IconQA).

    ``wordings``: ``public`` (those that the nano models were pre-trained on), ``private`` (the others) or ``all``.

    Raises:
        FedloomError: an unknown pack or skill.
    """
    return task(Options("choose_img", train, test, packs, skills, wordings, seed), word, exact)


def word(sample: Sample) -> Example:
    """``<image>\\nQuestion: ... A: <image> B: <image> C: <image> Answer:``; the choices are the letters.

    The pictures to choose from are choices, not a modality: they stand there whatever else is missing.
    """
    images = sample.images or ()
    lettered = [f"{letter}: {IMAGE}" for letter, _ in zip(sample.choices, sample.choice_images, strict=True)]
    text = prompt(len(images), sample.text, asked(sample.question), *lettered)
    pictures = (*images, *sample.choice_images)
    return Example(sample.id, pictures, text, sample.choices, sample.answer, question=sample.question or "")
