"""What the medical tasks share: a question and a free answer, compared as in VQA."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from fedloom.core.contracts import Data, Example, Sample, Task
from fedloom.core.metrics import accuracy_where
from fedloom.tasks._answers import vqa_exact
from fedloom.tasks._common import Wording, asked, basis, prompt
from fedloom.tasks._folder import UNKNOWN, Record, described, said, words

METRIC = "exact match"
KINDS = ("OPEN", "CLOSED")
"""Types of answers: free, or one of a few that the question itself allows."""


def task(name: str, load: Callable[[], Data], wording: Wording) -> Task:
    """The task: exact match after the clean-up of VQA, over all answers and over open and closed ones apart."""
    metrics = {f"{METRIC}, {kind.lower()}": accuracy_where("answer_type", kind) for kind in KINDS}
    return Task(name, METRIC, load, partial(word, wording=wording), vqa_exact, metrics=metrics)


def word(sample: Sample, wording: Wording) -> Example:
    """``<image>\\nQuestion: the question Answer:``; ``the question Answer:`` of a card, whose text it is.

    Nothing else is said, but for what ``wording`` adds. FedMLLM (arXiv 2411.14717) has the bare question.
    """
    images = sample.images or ()
    text = prompt(len(images), basis(sample, wording), sample.text, asked(sample.question))
    return Example(sample.id, images, text, (), sample.answer)


def object_of(entry: Any, expected: str) -> Record:
    """An entry of a list, which must be a JSON object; ``expected`` says of what.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(entry, dict):
        raise ValueError(f"expected a JSON object {expected}, found {str(entry)[:40]!r}.")
    return entry


def question(record: Record, source: str, image: Path, kind: str) -> Sample:
    """A question about a picture. ``kind``: the field that says what is asked about.

    Raises:
        ValueError: what is wrong with it.
    """
    answer = said(record, "answer")
    about = {"question_type": described(record, kind)[kind].strip(), "answer_type": _answer_type(record)}
    return Sample(
        id=f"{source}-{said(record, 'qid')}",
        images=(image,),
        text=None,
        question=words(record, "question").strip(),
        choices=(),
        answer=answer,
        meta={**about, "source": source, "label": answer},
    )


def _answer_type(record: Record) -> str:
    """``OPEN``, ``CLOSED`` or, where the record does not say, ``unknown``.

    Raises:
        ValueError: it says something else.
    """
    found = described(record, "answer_type")["answer_type"].strip()
    if found != UNKNOWN and found.upper() not in KINDS:
        raise ValueError(f"field 'answer_type' is {found!r}; expected {' or '.join(KINDS)}.")
    return found if found == UNKNOWN else found.upper()
