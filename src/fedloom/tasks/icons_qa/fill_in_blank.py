"""icons-qa/fill_in_blank: answer a question about a drawn scene with a word or number of one's own."""

from fedloom.core.contracts import Example, Sample, Task
from fedloom.tasks._common import asked, normal, prompt
from fedloom.tasks._icons.skills import Which
from fedloom.tasks.icons_qa._data import ALL_PRIVATE, ALL_SKILLS, Count, Options, Packs, Skills, task

_NUMBERS = "zero one two three four five six seven eight nine ten eleven twelve"
_DIGITS = {word: str(number) for number, word in enumerate(_NUMBERS.split())}


def fill_in_blank(
    train: Count = 1200,
    test: Count = 600,
    packs: Packs = ALL_PRIVATE,
    skills: Skills = ALL_SKILLS,
    wordings: Which = "private",
    seed: int = 0,
) -> Task:
    """Answer a question about drawn icons with a short word or number (the 13 skills of IconQA).

    ``wordings``: ``public`` (those that the nano models were pre-trained on), ``private`` (the others) or ``all``.

    Raises:
        FedloomError: an unknown pack or skill.
    """
    return task(Options("fill_in_blank", train, test, packs, skills, wordings, seed), word, score)


def word(sample: Sample) -> Example:
    """``<image>\\nQuestion: ... Answer:``; no choices, so the answer is generated."""
    images = sample.images or ()
    text = prompt(len(images), sample.text, asked(sample.question))
    return Example(sample.id, images, text, (), sample.answer, question=sample.question or "")


def score(sample: Sample, answer: str) -> float:
    """Exact match up to case, space and a full stop; a number may be a word: ``three`` is ``3``."""
    return float(_digits(answer) == _digits(sample.answer))


def _digits(answer: str) -> str:
    return _DIGITS.get(normal(answer), normal(answer))
