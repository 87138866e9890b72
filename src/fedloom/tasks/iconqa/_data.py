"""Reading a folder of IconQA (Lu et al., NeurIPS 2021 datasets track, arXiv 2110.13214).

iconqa/<train, val, test>/<choose_txt, choose_img, fill_in_blank>/<id>/
    data.json        question, choices, answer, ques_type, grade, label (the lesson that it is from)
    image.png        the diagram
    choice_0.png ... what choices of choose_img name
pid2skills.json      id -> the skills that the question needs, of 13; it may be absent
pid_splits.json      <kind>_<split> -> ids: read for the splits that have no folder (trainval, minitrain ...)

The authors' archive has these in iconqa_data/; its problems.json says the same once more, and is read to score
predictions alone (``_scored``). The data are CC BY-NC-SA; fedloom has none of them.
"""

from collections.abc import Callable, Iterator, Sequence
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

Split = Literal["train", "val", "test", "trainval", "minitrain", "minival", "minitest"]
FOLDERS: dict[Split, tuple[str, ...]] = {
    "train": ("train",),
    "val": ("val",),
    "test": ("test",),
    "trainval": ("train", "val"),
    "minitrain": ("train",),
    "minival": ("val",),
    "minitest": ("test",),
}
"""The folders that hold the questions of a split."""
SKILLS, SPLITS = "pid2skills.json", "pid_splits.json"


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

    def parts(self, split: Split) -> list[str]:
        """The folders that a split's questions are in, within the data's."""
        return [f"iconqa/{folder}/{self.kind}" for folder in FOLDERS[split]]


def task(options: Options, word: Callable[[Sample], Example], score: Callable[[Sample, str], float]) -> Task:
    """The task of one kind."""
    return Task(options.name, "accuracy", lambda: load(options), word, score, form=options.kind)


def load(options: Options) -> Data:
    """Two splits, every picture checked.

    Raises:
        FedloomError: no folder given, or it lacks a part; a split without usable questions; a broken record (with
            ``refuse``); a question in both splits.
    """
    splits = options.train_split, options.test_split
    parts = dict.fromkeys(part for split in splits for part in options.parts(split))
    listed = [SPLITS] if any(split not in FOLDERS[split] for split in splits) else []
    folder = opened(options.name, options.path, [*parts, *listed])
    skills = _skills(folder / SKILLS)

    def half(split: Split) -> tuple[Sample, ...]:
        places = [folder / part for part in options.parts(split)]
        found = _ids(places) if split in FOLDERS[split] else _listed(folder / SPLITS, f"{options.kind}_{split}", places)
        return gather(
            places[0].parent.parent,
            ((f"{place.parent.name}/{place.name}/{id}/data.json", place / id) for place, id in found),
            lambda place: _sample(options.kind, place, skills),
            options.on_bad,
            f"folders <id>/ of data.json and image.png in {', '.join(options.parts(split))}",
        )

    train, test = (half(split) for split in splits)
    apart(folder, train, test, f"Choose other splits than {splits[0]!r} and {splits[1]!r}.")
    return Data(train, test)


def _skills(file: Path) -> Record | None:
    if not file.exists():
        return None
    with blamed(file):
        return parsed(contents(file), "of lists of skills by question ids")


def _ids(places: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """The folders of a place, in the order of their numbers; what a file manager leaves there is passed over."""
    for place in places:
        ids = [entry.name for entry in place.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
        yield from ((place, id) for id in sorted(ids, key=lambda id: (len(id), id)))


def _listed(file: Path, name: str, places: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """The questions that a list of pid_splits.json names, each in the first of the places that has its folder.

    Raises:
        FedloomError: there is no such list.
    """
    with blamed(file):
        ids = parsed(contents(file), "of lists of question ids by sub-task and split").get(name)
        if not isinstance(ids, list):
            raise ValueError(f"has no list {name!r}.")
        for id in map(str, ids):
            if Path(id).name != id or id == "..":
                raise ValueError(f"list {name!r} holds {id!r}; expected a question's id.")
    for id in map(str, ids):
        yield next((place for place in places if (place / id).is_dir()), places[0]), id


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
