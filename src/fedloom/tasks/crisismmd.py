"""crisismmd: what does a tweet from a disaster show? Reads a folder of CrisisMMD v2.0 (Alam et al., ICWSM 2018).

crisismmd_datasplit_all/task_<task>_text_img_<split>.tsv    a line of tab-separated names of columns, then a tweet's
                                                            picture a line: image_id, image, tweet_text and a label
data_image/                                                 the files that ``image`` names from the folder on

<task> is humanitarian, informative or damage; <split> is train, dev or test. The first two have a label each for text,
picture and both (``label_text``, ``label_image``, ``label_text_image``); the last has one, ``label``, of the picture.
The archives of the pictures and of the splits are unpacked into one folder. The data are CC BY-NC-SA; fedloom has none
of them.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fedloom.core.contracts import Data, Sample, Task
from fedloom.core.errors import FedloomError
from fedloom.core.metrics import accuracy, macro_f1
from fedloom.tasks._common import Wording
from fedloom.tasks._folder import OnBad, apart, described, gather, lines, opened, picture, words
from fedloom.tasks._lettered import Answer, Lettered

About = Literal["humanitarian", "informativeness", "damage"]

NAME = "crisismmd"
SOURCE = "https://crisisnlp.qcri.org/crisismmd"
SPLITS, IMAGES = "crisismmd_datasplit_all", "data_image"
_LINK = re.compile(r"http\S+")


@dataclass(frozen=True)
class _Labels:
    """What is asked of a tweet: its file's name, the column of the label, the question and the classes."""

    file: str
    column: str
    question: str
    names: tuple[str, ...]


LABELS: dict[About, _Labels] = {
    "humanitarian": _Labels(
        "humanitarian",
        "label_image",
        "Which kind of humanitarian information does this tweet give?",
        (
            "affected_individuals",
            "infrastructure_and_utility_damage",
            "injured_or_dead_people",
            "missing_or_found_people",
            "rescue_volunteering_or_donation_effort",
            "vehicle_damage",
            "other_relevant_information",
            "not_humanitarian",
        ),
    ),
    "informativeness": _Labels(
        "informative", "label_image", "Does this tweet help humanitarian aid?", ("informative", "not_informative")
    ),
    "damage": _Labels(
        "damage",
        "label",
        "How severe is the damage that this tweet reports?",
        ("severe_damage", "mild_damage", "little_or_no_damage"),
    ),
}


def crisismmd(
    path: str | Path = "",
    on_bad: OnBad = "refuse",
    about: About = "humanitarian",
    test_split: Literal["test", "dev"] = "test",
    answer: Answer = "choose",
    wording: Wording = "named",
) -> Task:
    """Sort tweets from disasters by their picture and text: a folder of CrisisMMD v2.0 (Alam et al. 2018).

    ``about``: ``humanitarian`` (8 classes), ``informativeness`` (2) or ``damage`` (3). The label is the picture's
    (``label_image``), as FedMLLM has it (arXiv 2411.14717); links are taken out of the text. The answer that is learnt
    is a letter and a name, ``(F) vehicle_damage``. ``answer``: with ``choose`` the choices are ranked by their
    likelihood; with ``generate`` the model writes an answer, which is read. ``wording``: whether the prompt names the
    modalities that are there (``named``), says that modality is not to be considered (``agnostic``), or neither
    (``plain``). ``on_bad``: what a broken record does, ``refuse`` the whole folder or be ``skip``-ped with a warning.

    The figure of a run is macro-F1. Fields to partition by: ``label``, ``event`` (the disaster).
    """
    labels = LABELS[about]
    lettered = Lettered(labels.names, labels.question, "a tweet of {}", answer, wording)
    metrics = {"macro-F1": macro_f1, "accuracy": accuracy}
    return lettered.task(NAME, "macro-F1", metrics, lambda: load(path, on_bad, labels, test_split, lettered))


def load(path: str | Path, on_bad: OnBad, labels: _Labels, test_split: str, lettered: Lettered) -> Data:
    """The training file and a test file of a task, every picture checked.

    Raises:
        FedloomError: no folder given, or it lacks a part; a file that lacks a column; a broken record (with
            ``refuse``), a file without usable records, or a tweet's picture in both.
    """
    files = [f"{SPLITS}/task_{labels.file}_text_img_{split}.tsv" for split in ("train", test_split)]
    folder = opened(NAME, path, (*files, IMAGES), SOURCE)
    train, test = (_half(folder, folder / file, on_bad, labels, lettered) for file in files)
    apart(folder / SPLITS, train, test, f"Remove them from the file of split 'train' or of {test_split!r}.")
    return Data(train, test)


def _half(folder: Path, file: Path, on_bad: OnBad, labels: _Labels, lettered: Lettered) -> tuple[Sample, ...]:
    columns = ("image_id", "image", "tweet_text", labels.column)

    def make(row: tuple[list[str], str]) -> Sample:
        return _sample(folder, _record(*row), labels, lettered)

    return gather(file, _rows(file, columns), make, on_bad, f"tab-separated {', '.join(columns)}")


def _rows(file: Path, columns: tuple[str, ...]) -> Iterator[tuple[str, tuple[list[str], str]]]:
    """The lines below the first, each with the names of the columns, which that one holds. Quotes are text: the data's
    own readers split lines at tabs and no more.

    Raises:
        FedloomError: the file is empty or cannot be read, or lacks a column.
    """
    found = lines(file)
    header = [name.strip() for name in next(found, ("", ""))[1].split("\t")]
    for column in columns:
        if column not in header:
            shown = ", ".join(header)[:200]
            raise FedloomError(f"{file}: its first line names no column {column!r}, but: {shown}. Fetch it again.")
    return ((name, (header, line)) for name, line in found)


def _record(header: list[str], line: str) -> dict[str, str]:
    """The cells of a line by the names of their columns.

    Raises:
        ValueError: there are more or fewer than columns.
    """
    cells = line.rstrip("\r").split("\t")
    if len(cells) != len(header):
        raise ValueError(f"it has {len(cells)} cells; expected {len(header)}, one a column.")
    return dict(zip(header, (cell.strip() for cell in cells), strict=True))


def _sample(folder: Path, record: dict[str, str], labels: _Labels, lettered: Lettered) -> Sample:
    """One picture of a tweet.

    Raises:
        ValueError: what is wrong with it.
    """
    label = record[labels.column]
    if label not in labels.names:
        raise ValueError(f"{labels.column} {label!r}; expected one of {', '.join(labels.names)}.")
    image = picture(folder, *words(record, "image").split("/"))
    text = _LINK.sub("", words(record, "tweet_text")).strip() or None  # a link alone is no text
    event = described(record, "event_name")["event_name"]
    return lettered.sample(words(record, "image_id"), image, text, label, event=event)
