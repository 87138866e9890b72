"""medical: FedMLLM's medical domain, pictures of one data set and texts of another (arXiv 2411.14717).

vqa-rad/                              a folder of VQA-RAD, as task ``vqa-rad`` reads it
medical_meadow_medical_flashcards/    a folder of flashcards, as task ``medical-flashcards`` reads it
Slake1.0/                             a folder of SLAKE, as task ``slake`` reads it; only where it is tested on
"""

from pathlib import Path
from typing import Literal

from fedloom.core.contracts import Data, Task
from fedloom.tasks import _medical, slake, vqa_rad
from fedloom.tasks._common import Wording
from fedloom.tasks._folder import OnBad, opened
from fedloom.tasks.medical_flashcards import SOURCE as CARDS_FROM
from fedloom.tasks.medical_flashcards import cards

On = Literal["vqa-rad", "slake"]

NAME = "medical"
RAD, CARDS, SLAKE = "vqa-rad", "medical_meadow_medical_flashcards", "Slake1.0"


def medical(
    path: str | Path = "",
    on_bad: OnBad = "refuse",
    test: On = "vqa-rad",
    language: slake.Language = "en",
    wording: Wording = "plain",
) -> Task:
    """Learn from radiographs and flashcards, and answer questions about pictures: FedMLLM's medical domain.

    The training half is that of VQA-RAD, pictures with questions, and all medical flashcards, texts alone (arXiv
    2411.14717). ``test``: the test half of VQA-RAD, or that of SLAKE, which no client has trained on. ``language``: of
    SLAKE's questions; the released evaluation reads ``all``. Answers are free, compared after the clean-up of VQA's
    evaluation: exact match over all, and over open and closed questions apart. ``wording``: whether the prompt names
    the modalities that are there (``named``), says that modality is not to be considered (``agnostic``), or neither
    (``plain``). ``on_bad``: what a broken record does, ``refuse`` the data or be ``skip``-ped with a warning.

    Fields to partition by: ``source`` (``vqa-rad`` or ``medical-flashcards``), ``answer_type``, ``question_type``.
    """
    return _medical.task(NAME, lambda: load(path, on_bad, test, language), wording)


def load(path: str | Path, on_bad: OnBad, test: On, language: slake.Language) -> Data:
    """Both halves, every picture checked.

    Raises:
        FedloomError: no folder given, or it or one of its parts lacks something; a broken record (with ``refuse``), or
            a half of a data set without any.
    """
    parts = {RAD: vqa_rad.SOURCE, CARDS: CARDS_FROM} | ({SLAKE: slake.SOURCE} if test == "slake" else {})
    folder = opened(NAME, path, tuple(parts), "; ".join(f"{name}/ from {source}" for name, source in parts.items()))
    radiographs = vqa_rad.load(NAME, folder / RAD, on_bad)
    flashcards = cards(NAME, folder / CARDS, on_bad)
    if test == "slake":
        return Data(radiographs.train + flashcards, slake.half(NAME, folder / SLAKE, "test.json", on_bad, language))
    return Data(radiographs.train + flashcards, radiographs.test)
