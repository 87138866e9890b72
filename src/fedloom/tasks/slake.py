"""slake: answer a question about a medical picture. Reads a folder of SLAKE (Liu et al., ISBI 2021).

train.json, test.json    a list of questions: qid, img_name (such as xmlab1/source.jpg), question, answer, q_lang (en or
                         zh), answer_type, content_type and more
imgs/                    what ``img_name`` names

The authors' Slake1.0 has a ``validate.json`` besides, which is not read. The data are CC BY; fedloom has none of them.
"""

from pathlib import Path
from typing import Any, Literal

from fedloom.core.contracts import Data, Sample, Task
from fedloom.tasks import _medical
from fedloom.tasks._common import Wording
from fedloom.tasks._folder import OnBad, apart, entries, gather, opened, picture, words

Language = Literal["en", "zh", "all"]

NAME = "slake"
SOURCE = "https://huggingface.co/datasets/BoKelvin/SLAKE (its imgs.zip unpacked)"
LANGUAGES = ("en", "zh")
IMAGES = "imgs"


def slake(
    path: str | Path = "", on_bad: OnBad = "refuse", language: Language = "en", wording: Wording = "plain"
) -> Task:
    """Answer a question about a medical picture: a folder of SLAKE (Liu et al. 2021), train against test.

    ``language``: that of the questions. Results on SLAKE are usually of its English part; FedMLLM's released evaluation
    reads ``all``. A free answer, compared with the right one after the clean-up of VQA's evaluation: exact match over
    all, and over open and closed questions apart. ``wording``: whether the prompt names the modalities that are there
    (``named``), says that modality is not to be considered (``agnostic``), or neither (``plain``). ``on_bad``: what a
    broken record does, ``refuse`` the whole folder or be ``skip``-ped with a warning.

    Fields to partition by: ``question_type`` (the data's ``content_type``), ``answer_type``, ``label``.
    """
    return _medical.task(NAME, lambda: load(path, on_bad, language), wording)


def load(path: str | Path, on_bad: OnBad, language: Language) -> Data:
    """Both halves, every picture checked.

    Raises:
        FedloomError: no folder given, or it lacks a part; a broken record (with ``refuse``), a half without questions
            in the language, or a question in both.
    """
    train, test = (half(NAME, path, name, on_bad, language) for name in ("train.json", "test.json"))
    apart(Path(path), train, test, "Remove them from train.json.")
    return Data(train, test)


def half(task: str, path: str | Path, name: str, on_bad: OnBad, language: Language) -> tuple[Sample, ...]:
    """The questions of a file in the language; ``task``: the one that reads them, for messages.

    Raises:
        FedloomError: no folder given, or it lacks the file or the pictures; a broken record (with ``refuse``), or none.
    """
    folder = opened(task, path, (name, IMAGES), SOURCE)
    file = folder / name
    passed_over = tuple(other for other in LANGUAGES if language not in (other, "all"))
    mine = [each for each in entries(file, "of questions") if _language(each[1]) not in passed_over]
    expected = f"questions with q_lang {language!r}" if language != "all" else "questions"
    return gather(file, mine, lambda entry: _sample(folder / IMAGES, entry), on_bad, expected)


def _language(entry: Any) -> object:
    return entry.get("q_lang") if isinstance(entry, dict) else None


def _sample(images: Path, entry: Any) -> Sample:
    """One question.

    Raises:
        ValueError: what is wrong with it.
    """
    record = _medical.object_of(entry, "of a question")
    if _language(record) not in LANGUAGES:
        raise ValueError(f"q_lang {_language(record)!r}; expected {' or '.join(LANGUAGES)}.")
    image = picture(images, *words(record, "img_name").split("/"))
    return _medical.question(record, NAME, image, "content_type")
