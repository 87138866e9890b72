"""medical-flashcards: answer a medical question that has no picture. Reads the flashcards of Medical Meadow.

medical_meadow_wikidoc_medical_flashcards.json    a list of cards: input (the question), output (the answer) and an
                                                  instruction, the same for all, which is not read

Cards that lack a question or an answer are passed over and counted, as FedMLLM does (arXiv 2411.14717). fedloom has
none of the data.
"""

import warnings
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from fedloom.core.contracts import Data, Sample, Task
from fedloom.core.errors import FedloomError
from fedloom.core.printable import in_line
from fedloom.core.seeds import Seeds
from fedloom.tasks import _medical
from fedloom.tasks._common import Wording
from fedloom.tasks._folder import UNKNOWN, OnBad, entries, gather, opened, words

Share = Annotated[float, Field(gt=0, lt=1)]

NAME = "medical-flashcards"
SOURCE = "https://huggingface.co/datasets/medalpaca/medical_meadow_medical_flashcards"
FILE = "medical_meadow_wikidoc_medical_flashcards.json"


def medical_flashcards(
    path: str | Path = "", on_bad: OnBad = "refuse", test_share: Share = 0.05, wording: Wording = "plain", seed: int = 0
) -> Task:
    """Answer medical questions without pictures: the flashcards of Medical Meadow (Han et al. 2023, MedAlpaca).

    What a card asks is its text, so that a client that holds cards holds texts. The data have no test half:
    ``test_share`` of the cards, drawn by ``seed``, is one, and the others are trained on. A free answer, compared with
    the right one after the clean-up of VQA's evaluation; answers are sentences, which few models give word by word.
    ``wording``: whether the prompt names the modalities that are there (``named``), says that modality is not to be
    considered (``agnostic``), or neither (``plain``). ``on_bad``: what a broken card does, ``refuse`` the whole folder
    or be ``skip``-ped with a warning.
    """
    return _medical.task(NAME, lambda: load(path, on_bad, test_share, seed), wording)


def load(path: str | Path, on_bad: OnBad, test_share: float, seed: int) -> Data:
    """Both halves: a ``test_share`` of the questions is tested on, each with all of its cards.

    Raises:
        FedloomError: no folder given, or it lacks the file; a broken card (with ``refuse``), or too few of them.
    """
    every = cards(NAME, path, on_bad)
    asked = list(dict.fromkeys(card.text for card in every))
    size = max(1, int(test_share * len(asked)))
    if size == len(asked):
        raise FedloomError(f"{path}: has one question. Expected two or more, of which some are tested on.")
    order = Seeds(seed).numpy(f"tasks/{NAME}/test").permutation(len(asked)).tolist()
    drawn = {asked[place] for place in order[:size]}
    train = tuple(card for card in every if card.text not in drawn)
    return Data(train, tuple(card for card in every if card.text in drawn))


def cards(task: str, path: str | Path, on_bad: OnBad) -> tuple[Sample, ...]:
    """All cards with a question and an answer; ``task``: the one that reads them, for messages.

    Raises:
        FedloomError: no folder given, or it lacks the file; a broken card (with ``refuse``), or none that is whole.
    """
    file = opened(task, path, (FILE,), SOURCE) / FILE
    every = [(name, (name, entry)) for name, entry in entries(file, "of flashcards")]
    lacking = [name for name, (_, entry) in every if _lacks(entry)]
    whole = [each for each in every if not _lacks(each[1][1])]
    found = gather(file, whole, lambda named: _sample(*named), on_bad, "cards with input and output")
    if lacking:
        told = f"{len(lacking)} of {len(every)} cards lack a question or an answer and are passed over"
        warnings.warn(in_line(f"{file}: {told}; the first: {lacking[0]}"), stacklevel=2)
    return found


def _lacks(entry: Any) -> bool:
    """Whether a card's question or answer is empty, as some of the data are."""
    sides = [entry.get(field, "") for field in ("input", "output")] if isinstance(entry, dict) else []
    return any(side is None or (isinstance(side, str) and not side.strip()) for side in sides)


def _sample(name: str, entry: Any) -> Sample:
    """One card.

    Raises:
        ValueError: what is wrong with it.
    """
    record = _medical.object_of(entry, "of a card")
    answer = words(record, "output").strip()
    return Sample(
        id=f"{NAME}-{name.removeprefix('entry ')}",
        images=None,
        text=words(record, "input").strip(),
        question=None,
        choices=(),
        answer=answer,
        meta={"question_type": UNKNOWN, "answer_type": "OPEN", "source": NAME, "label": answer},
    )
