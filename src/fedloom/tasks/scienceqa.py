"""scienceqa: answer a school question by a letter. Reads a folder of ScienceQA (Lu et al., NeurIPS 2022).

problems.json                       question id -> question, choices, answer (which choice, from 0), hint, image, split,
                                    and what it is about: subject, topic, category, skill, grade, task
pid_splits.json                     name of a split -> ids of its questions
images/<split>/<id>/<image>         the picture of a question that has one; <image> is image.png

The authors' repository has these in data/scienceqa/. The data are CC BY-NC-SA; fedloom has none of them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fedloom.core.contracts import Data, Example, Sample, Task
from fedloom.core.errors import FedloomError, nearest
from fedloom.tasks._common import LETTERS, asked, exact, prompt
from fedloom.tasks._folder import (
    UNKNOWN,
    OnBad,
    Record,
    apart,
    blamed,
    choices,
    contents,
    described,
    gather,
    index,
    opened,
    parsed,
    picture,
    words,
)

NAME = "scienceqa"
PROBLEMS, SPLITS, IMAGES = "problems.json", "pid_splits.json", "images"
ABOUT = ("subject", "topic", "category", "skill", "grade", "task")


def scienceqa(
    path: str | Path = "",
    on_bad: OnBad = "refuse",
    train_split: str = "train",
    test_split: str = "test",
    with_image: bool = True,
    hint: bool = True,
) -> Task:
    """Answer a school question about a picture by the letter of a choice: a folder of ScienceQA (Lu et al. 2022).

    The answer is a letter, as with the authors (arXiv 2209.09513) and with LLaVA: choices are often sentences, whose
    likelihoods are hard to compare, and a letter is one token. Their texts are part of the question.

    ``train_split``, ``test_split``: splits of ``pid_splits.json`` (``minitrain``, ``val`` ...). ``with_image``: only
    questions with a picture, which are 2,017 of the 4,241 of split ``test``. ``hint``: whether the passage that some
    questions come with is shown. ``on_bad``: what a broken record does, ``refuse`` the whole folder or be ``skip``-ped
    with a warning.

    Fields to partition by: ``subject``, ``topic``, ``category``, ``skill``, ``grade`` and ``task`` as they are in the
    data; ``grades`` (``1-6``, ``7-12``) and ``context`` (``text``, ``image``, ``text+image``, ``none``), the classes by
    which the paper tells accuracies; ``label``, the letter.
    """
    return Task(NAME, "accuracy", lambda: load(path, on_bad, (train_split, test_split), with_image, hint), word, exact)


def word(sample: Sample) -> Example:
    """``<image>\\nContext: the hint Question: the question Choices: (A) one (B) other Answer:``.

    To a contrastive model a letter says nothing: its captions are the choices' own texts.
    """
    images = sample.images or ()
    context = f"Context: {sample.text}" if sample.text else None
    text = prompt(len(images), context, asked(sample.question))
    asks = (sample.question or "").rpartition(" Choices: ")[0]
    captions = sample.choice_texts
    return Example(sample.id, images, text, sample.choices, sample.answer, captions=captions, question=asks)


def load(path: str | Path, on_bad: OnBad, splits: tuple[str, str], with_image: bool, hint: bool) -> Data:
    """Two splits, every picture checked.

    Raises:
        FedloomError: no folder given, or it lacks a part; a split that there is none of, or that holds no usable
            question; a broken record (with ``refuse``); a question in both splits.
    """
    folder = opened(NAME, path, (PROBLEMS, SPLITS, IMAGES))
    with blamed(folder / PROBLEMS):
        problems = parsed(contents(folder / PROBLEMS), "of questions by their ids")
    with blamed(folder / SPLITS):
        listed = parsed(contents(folder / SPLITS), "of lists of question ids by the names of splits")

    def half(split: str) -> tuple[Sample, ...]:
        ids = _ids(folder / SPLITS, listed, split)
        wanted = [id for id in ids if not with_image or _has_image(problems.get(id, {"image": "?"}))]
        expected = f"questions of split {split!r}" + (" with a picture" if with_image else "")
        records = ((f"question {id}", id) for id in wanted)
        return gather(folder / PROBLEMS, records, lambda id: _sample(folder, problems, id, hint), on_bad, expected)

    train, test = (half(split) for split in splits)
    apart(folder / SPLITS, train, test, f"Choose other splits than {splits[0]!r} and {splits[1]!r}.")
    return Data(train, test)


def _ids(file: Path, listed: Record, split: str) -> Sequence[str]:
    if split not in listed:
        raise FedloomError(f"{file}: has no split {split!r}. {nearest(split, listed)}")
    ids = listed[split]
    if not isinstance(ids, list):
        raise FedloomError(f"{file}: split {split!r} is {str(ids)[:40]!r}; expected a list of question ids.")
    return [str(id) for id in ids]


def _has_image(problem: Any) -> bool:
    """Whether a question has a picture; one that is broken is not passed over here."""
    return not isinstance(problem, dict) or bool(problem.get("image"))


def _sample(folder: Path, problems: Record, id: str, hint: bool) -> Sample:
    """One question.

    Raises:
        ValueError: what is wrong with it.
    """
    problem = problems.get(id)
    if not isinstance(problem, dict):
        raise ValueError(f"{SPLITS} names it, but it is {problem!r}; expected an object.")
    options = tuple(option.strip() for option in choices(problem))
    letters = tuple(LETTERS[: len(options)])
    lettered = " ".join(f"({letter}) {option}" for letter, option in zip(letters, options, strict=True))
    passage = words(problem, "hint").strip() if str(problem.get("hint") or "").strip() else None
    images = None
    if _has_image(problem):
        images = (picture(folder / IMAGES, words(problem, "split"), id, words(problem, "image")),)
    answer = letters[index(problem, len(letters))]
    about = described(problem, *ABOUT)
    return Sample(
        id=id,
        images=images,
        text=passage if hint else None,
        question=f"{words(problem, 'question').strip()} Choices: {lettered}",
        choices=letters,
        answer=answer,
        meta={**about, "grades": _grades(about["grade"]), "context": _context(passage, images), "label": answer},
        choice_texts=options,
    )


def _grades(grade: str) -> str:
    """The paper's two classes of grades, of which the data tell ``grade1`` to ``grade12``."""
    number = grade.removeprefix("grade")
    if not number.isdecimal() or not 1 <= int(number) <= 12:
        return UNKNOWN
    return "1-6" if int(number) <= 6 else "7-12"


def _context(passage: str | None, images: object) -> str:
    return "+".join([*(["text"] if passage else []), *(["image"] if images else [])]) or "none"
