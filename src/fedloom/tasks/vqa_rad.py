"""vqa-rad: answer a clinician's question about a radiograph. Reads a folder of VQA-RAD (Lau et al., Sci. Data 2018).

VQA_RAD Dataset Public.json    a list of questions: qid, image_name, question, answer (some are numbers), answer_type,
                               question_type, phrase_type and more
VQA_RAD Image Folder/          the files that ``image_name`` names; ``images/`` does as well

``phrase_type`` says which half a question is of: ``freeform`` and ``para`` are for training, ``test_freeform`` and
``test_para`` for testing. The data are CC0; fedloom has none of them.
"""

from pathlib import Path
from typing import Any

from fedloom.core.contracts import Data, Sample, Task
from fedloom.core.errors import FedloomError
from fedloom.tasks import _medical
from fedloom.tasks._common import Wording
from fedloom.tasks._folder import OnBad, apart, entries, gather, opened, picture, words

NAME = "vqa-rad"
SOURCE = "https://osf.io/89kps"
FILE = "VQA_RAD Dataset Public.json"
FOLDERS = ("VQA_RAD Image Folder", "images")
TRAIN, TEST = ("freeform", "para"), ("test_freeform", "test_para")


def vqa_rad(path: str | Path = "", on_bad: OnBad = "refuse", wording: Wording = "plain") -> Task:
    """Answer a clinician's question about a radiograph: a folder of VQA-RAD (Lau et al. 2018), its own two halves.

    A free answer, compared with the right one after the clean-up of VQA's evaluation: exact match over all, and over
    open and closed questions apart. ``wording``: whether the prompt names the modalities that are there (``named``),
    says that modality is not to be considered (``agnostic``), or neither (``plain``). ``on_bad``: what a broken record
    does, ``refuse`` the whole folder or be ``skip``-ped with a warning.

    Fields to partition by: ``question_type`` (as in the data, such as ``PRES, ABN``), ``answer_type``, ``label``.
    """
    return _medical.task(NAME, lambda: load(NAME, path, on_bad), wording)


def load(task: str, path: str | Path, on_bad: OnBad) -> Data:
    """Both halves, every picture checked; ``task``: the one that reads them, for messages.

    Raises:
        FedloomError: no folder given, or it lacks a part; a broken record (with ``refuse``), or a half without any.
    """
    folder = opened(task, path, (FILE,), SOURCE)
    images = next((folder / name for name in FOLDERS if (folder / name).is_dir()), None)
    if images is None:
        raise FedloomError(f"{folder}: has no {' and no '.join(FOLDERS)}. Expected one of them, from {SOURCE}.")
    file = folder / FILE
    every = list(entries(file, "of questions"))
    tests = [each for each in every if _phrase(each[1]) in TEST]
    others = [each for each in every if _phrase(each[1]) not in TEST]  # one of neither half is told with these

    def half(records: list[tuple[str, Any]], phrases: tuple[str, ...]) -> tuple[Sample, ...]:
        expected = f"questions whose phrase_type is {' or '.join(phrases)}"
        return gather(file, records, lambda entry: _sample(images, entry, phrases), on_bad, expected)

    train, test = half(others, TRAIN), half(tests, TEST)
    apart(file, train, test, "Remove them from one half.")
    return Data(train, test)


def _phrase(entry: Any) -> str:
    return str(entry.get("phrase_type")).strip() if isinstance(entry, dict) else ""


def _sample(images: Path, entry: Any, phrases: tuple[str, ...]) -> Sample:
    """One question.

    Raises:
        ValueError: what is wrong with it.
    """
    record = _medical.object_of(entry, "of a question")
    if _phrase(record) not in phrases:
        raise ValueError(f"phrase_type {record.get('phrase_type')!r}; expected one of {', '.join((*TRAIN, *TEST))}.")
    return _medical.question(record, NAME, picture(images, words(record, "image_name")), "question_type")
