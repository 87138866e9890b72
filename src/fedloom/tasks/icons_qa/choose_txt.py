"""icons-qa/choose_txt: choose the word that answers a question about a drawn scene."""

from fedloom.core.contracts import Example, Sample, Task
from fedloom.tasks._common import asked, exact, literal, offered, prompt
from fedloom.tasks._icons.skills import Which
from fedloom.tasks.icons_qa._data import ALL_PRIVATE, ALL_SKILLS, Count, Options, Packs, Skills, task


def choose_txt(
    train: Count = 1200,
    test: Count = 600,
    packs: Packs = ALL_PRIVATE,
    skills: Skills = ALL_SKILLS,
    wordings: Which = "private",
    seed: int = 0,
) -> Task:
    """Choose among 2 to 5 words the one that answers a question about drawn icons (the 13 skills of IconQA).

    ``wordings``: ``public`` (those that the nano models were pre-trained on), ``private`` (the others) or ``all``.

    Raises:
        FedloomError: an unknown pack or skill.
    """
    return task(Options("choose_txt", train, test, packs, skills, wordings, seed), word, exact)


def word(sample: Sample) -> Example:
    """``<image>\\nQuestion: ... Choices: a, b, c. Answer:``."""
    images = sample.images or ()
    text = prompt(len(images), sample.text, asked(sample.question), offered(sample.choices))
    caption = f"{literal(sample.question)} {{}}" if sample.question else "{}"
    asks = sample.question or ""
    return Example(sample.id, images, text, sample.choices, sample.answer, caption, question=asks)
