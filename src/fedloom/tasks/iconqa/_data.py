"""Reading a folder of IconQA (Lu et al., NeurIPS 2021 datasets track, arXiv 2110.13214).

iconqa/<train, val, test>/<choose_txt, choose_img, fill_in_blank>/<id>/
    data.json        question, choices, answer, ques_type, grade, label (the lesson that it is from)
    image.png        the diagram
    choice_0.png ... what choices of choose_img name
pid2skills.json      id -> the skills that the question needs, of 13; it may be absent

The authors' archive has these in iconqa_data/; its problems.json and pid_splits.json say the same once more, and are
not read. The data are CC BY-NC-SA; fedloom has none of them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fedloom.core.contracts import Data, Example, Picture, Sample, Task
from fedloom.tasks._common import LETTERS
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
from fedloom.tasks._icons.question import Kind

Split = Literal["train", "val", "test"]
SKILLS = "pid2skills.json"


@dataclass(frozen=True)
class Options:
    """Which questions, where they are, and what a broken one does."""

    kind: Kind
    path: str | Path
    on_bad: OnBad
    train_split: Split
    test_split: Split

    @property
    def name(self) -> str:
        """The task's name."""
        return f"iconqa/{self.kind}"

    def part(self, split: Split) -> str:
        """The folder of a split's questions, within the data's."""
        return f"iconqa/{split}/{self.kind}"


def task(options: Options, word: Callable[[Sample], Example], score: Callable[[Sample, str], float]) -> Task:
    """The task of one kind."""
    return Task(options.name, "accuracy", lambda: load(options), word, score)


def load(options: Options) -> Data:
    """Two splits, every picture checked.

    Raises:
        FedloomError: no folder given, or it lacks a part; a split without usable questions; a broken record (with
            ``refuse``); a question in both splits.
    """
    splits = options.train_split, options.test_split
    folder = opened(options.name, options.path, [options.part(split) for split in splits])
    skills = _skills(folder / SKILLS)

    def half(split: Split) -> tuple[Sample, ...]:
        place = folder / options.part(split)
        expected = "folders <id>/ of data.json and image.png"
        return gather(
            place, _ids(place), lambda id: _sample(options.kind, place / id, skills), options.on_bad, expected
        )

    train, test = (half(split) for split in splits)
    apart(folder, train, test, f"Choose other splits than {splits[0]!r} and {splits[1]!r}.")
    return Data(train, test)


def _skills(file: Path) -> Record | None:
    if not file.exists():
        return None
    with blamed(file):
        return parsed(contents(file), "of lists of skills by question ids")


def _ids(place: Path) -> Iterator[tuple[str, str]]:
    """The folders of a place, in the order of their numbers; what a file manager leaves there is passed over."""
    ids = [entry.name for entry in place.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    return ((f"{id}/data.json", id) for id in sorted(ids, key=lambda id: (len(id), id)))


def _sample(kind: Kind, folder: Path, skills: Record | None) -> Sample:
    """One question.

    Raises:
        ValueError: what is wrong with it.
    """
    record = parsed(contents(folder / "data.json"), "of question, answer and, for some kinds, choices")
    if record.get("ques_type", kind) != kind:
        raise ValueError(f"field 'ques_type' is {record['ques_type']!r}; expected {kind!r}.")
    offered, answer, pictures = _answer(kind, record, folder)
    about = described(record, "grade", "label")
    meta = {"grade": about["grade"], "lesson": f"{about['grade']}/{about['label']}", "label": answer}
    if skills is not None:
        meta["skill"] = _skill(skills.get(folder.name))
    return Sample(
        id=folder.name,
        images=(picture(folder, "image.png"),),
        text=None,
        question=words(record, "question").strip(),
        choices=offered,
        answer=answer,
        choice_images=pictures,
        meta=meta,
    )


def _answer(kind: Kind, record: Record, folder: Path) -> tuple[tuple[str, ...], str, tuple[Picture, ...]]:
    """What there is to choose from, the answer, and the pictures that letters stand for."""
    if kind == "fill_in_blank":
        answer = record.get("answer")
        number = isinstance(answer, int) and not isinstance(answer, bool)
        return (), str(answer) if number else words(record, "answer").strip(), ()
    options = choices(record)
    if kind == "choose_txt":
        texts = tuple(option.strip() for option in options)
        return texts, texts[index(record, len(texts))], ()
    letters = tuple(LETTERS[: len(options)])
    return letters, letters[index(record, len(letters))], tuple(picture(folder, name) for name in options)


def _skill(skills: object) -> str:
    """All skills of a question as one text, for a question needs several: ``counting+geometry``."""
    return "+".join(sorted(map(str, skills))) if isinstance(skills, list) and skills else UNKNOWN
