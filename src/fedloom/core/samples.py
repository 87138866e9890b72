"""What a task gives, checked once when it is loaded, so that no run finds out in its third round.

A record that cannot be used costs what ``data.on_bad`` says: the run, before it begins, or itself.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from math import isfinite
from pathlib import Path
from typing import Literal

from PIL import Image

from fedloom.core import limits
from fedloom.core.contracts import IMAGE, Answered, Data, Example, Metric, Picture, Sample, Task
from fedloom.core.errors import FedloomError, told
from fedloom.core.pictures import fault
from fedloom.core.printable import in_line

OnBad = Literal["refuse", "skip"]
"""What a broken record does."""

TEXT = "expected text"
PICTURES = "expected pictures of Pillow's and pathlib.Paths"


def guarded(task: Task, on_bad: OnBad) -> Task:
    """The task, with each sample checked when it is loaded, and with errors that name the task and the record.

    A sample must have an id of its own in its half, text that UTF-8 can write, an answer among its choices (where it
    has any), a rejected one that is not it and pictures that open; and the task must word it. Its example has its
    rejected answer. Its pictures' files are read through, and not kept.

    Raises:
        FedloomError: what is built is no task.
    """
    if not isinstance(task, Task):
        raise FedloomError(f"task: its function returned {_kind(task)}; expected a fedloom.core.contracts.Task.")

    def load() -> Data:
        try:
            data = task.load()
        except FedloomError:
            raise
        except Exception as error:
            raise FedloomError(f"task {task.name!r}: its data cannot be loaded: {told(error)}.") from error
        if not isinstance(data, Data):
            raise FedloomError(f"task {task.name!r}: load() returned {_kind(data)}; expected a Data of two halves.")
        return Data(*(_usable(task, name, half, on_bad) for name, half in (("train", data.train), ("test", data.test))))

    def word(sample: Sample) -> Example:
        try:
            return _worded(task, sample)
        except ValueError as error:
            raise FedloomError(f"task {task.name!r}, record {sample.id!r}: {error}") from error.__cause__

    def score(sample: Sample, answer: str) -> float:
        place = f"task {task.name!r}, record {sample.id!r}: score() of the answer {answer!r}"
        try:
            found = float(task.score(sample, answer))
        except Exception as error:
            raise FedloomError(f"{place} failed: {told(error)}.") from error
        if not isfinite(found) or not 0 <= found <= 1:
            raise FedloomError(f"{place} is {found}; expected a number from 0 (wrong) to 1 (right).")
        return found

    read = _reader(task) if task.read else None
    metrics = {name: _figure(task, name, metric) for name, metric in task.metrics.items()}
    return replace(task, load=load, word=word, score=score, read=read, metrics=metrics)


def _reader(task: Task) -> Callable[[Sample, str], str | None]:
    """``task.read``, of which what it gives is seen to be text or nothing."""
    assert task.read is not None
    whole = task.read

    def read(sample: Sample, answer: str) -> str | None:
        place = f"task {task.name!r}, record {sample.id!r}: read() of the answer {answer!r}"
        try:
            found = whole(sample, answer)
        except Exception as error:
            raise FedloomError(f"{place} failed: {told(error)}.") from error
        if not isinstance(found, str | None):
            raise FedloomError(f"{place} is {found!r}; {TEXT}, or None where it means no answer.")
        return found

    return read


def _figure(task: Task, name: str, metric: Metric) -> Metric:
    """One of ``task.metrics``, of which what it gives is seen to be a share or nothing."""

    def figure(samples: Sequence[Sample], answered: Sequence[Answered]) -> float | None:
        place = f"task {task.name!r}: its metric {name!r} of {len(answered)} answers"
        try:
            found = metric(samples, answered)
            found = None if found is None else float(found)
        except Exception as error:
            raise FedloomError(f"{place} failed: {told(error)}.") from error
        if found is not None and not 0 <= found <= 1:  # nor what is no number
            raise FedloomError(f"{place} is {found}; expected a number from 0 to 1, or None where it is not defined.")
        return found

    return figure


@lru_cache(maxsize=1 << 20)
def _opens(path: Path, changed: int, size: int) -> str:
    """Why a file is no picture that a model can be shown; empty: it is one. Asked once for each state of a file."""
    return fault(path)


def check_picture(path: Path) -> None:
    """See that a file is a picture, whole, as models are shown it (``core.pictures``).

    Raises:
        ValueError: it is missing or cannot be opened.
    """
    try:
        state = path.stat()
        why = _opens(path, state.st_mtime_ns, state.st_size)
    except (OSError, ValueError) as error:
        why = str(error)
    if why:
        raise ValueError(f"image {path} cannot be opened: {why}.")


def check_text(what: str, value: str) -> None:
    """See that a text can be written down.

    Raises:
        ValueError: it holds half a character, as a JSON escape like ``\\ud83d`` without its other half makes one.
    """
    try:
        value.encode()
    except UnicodeEncodeError as error:
        half = value[error.start]
        raise ValueError(f"{what} holds {half!r}, half a character; expected text that UTF-8 can write.") from None


def _usable(task: Task, name: str, half: tuple[Sample, ...], on_bad: OnBad) -> tuple[Sample, ...]:
    """The samples of a half that can be used.

    Raises:
        FedloomError: one cannot (with ``refuse``), or none can.
    """
    if not isinstance(half, tuple | list):
        raise FedloomError(f"task {task.name!r}: its {name} half is {_kind(half)}; expected a tuple of Samples.")
    good: dict[str, Sample] = {}
    first = ""
    for number, sample in enumerate(half):
        limits.tick()
        shown = f"record {sample.id!r}" if isinstance(sample, Sample) else f"record number {number}"
        try:
            _check(sample)
            if sample.id in good:
                raise ValueError("its id has stood there before; expected each once.")
            _worded(task, sample)
            good[sample.id] = sample
        except ValueError as error:
            first = first or f"task {task.name!r}, {name} half, {shown}: {error}"
            if on_bad == "refuse":
                fix = "Correct or remove it, or skip broken records with --set data.on_bad=skip."
                raise FedloomError(f"{first} {fix}") from error.__cause__
    if half and not good:
        raise FedloomError(f"task {task.name!r}: its {name} half has no usable record; the first: {first}")
    if first:
        skipped = f"{len(half) - len(good)} of {len(half)} records skipped"
        warnings.warn(in_line(f"task {task.name!r}, {name} half: {skipped}; the first: {first}"), stacklevel=3)
    return tuple(good.values())


def _check(sample: Sample) -> None:
    """Refuse a sample of which nothing could be made.

    Raises:
        ValueError: what is wrong with it.
    """
    if not isinstance(sample, Sample):
        raise ValueError(f"it is {_kind(sample)}; expected a fedloom.core.contracts.Sample.")
    for what, value in _texts(sample):
        if not isinstance(value, str):
            raise ValueError(f"{what} is {value!r}; {TEXT}.")
        check_text(what, value)
    for field in ("images", "choice_images"):
        _check_pictures(field, getattr(sample, field))
    if sample.choices and sample.answer not in sample.choices:
        raise ValueError(f"answer {sample.answer!r} is none of its choices, {list(sample.choices)}.")
    if sample.rejected and sample.rejected == sample.answer:
        raise ValueError(f"rejected {sample.rejected!r} is its answer; expected a worse one.")


def _texts(sample: Sample) -> Iterator[tuple[str, object]]:
    """Everything in a sample that must be text, with what it is."""
    yield from (("id", sample.id), ("answer", sample.answer), ("rejected", sample.rejected))
    yield from ((field, value) for field in ("text", "question") if (value := getattr(sample, field)) is not None)
    if not isinstance(sample.choices, tuple | list):
        raise ValueError(f"choices is {sample.choices!r}; expected a tuple of texts.")
    yield from ((f"choice {number}", choice) for number, choice in enumerate(sample.choices))
    yield from ((f"meta {key!r}", value) for key, value in sample.meta.items())


def _check_pictures(field: str, pictures: tuple[Picture, ...] | None) -> None:
    if not isinstance(pictures, tuple | list | None):
        raise ValueError(f"{field} is {_kind(pictures)}; expected a tuple; {PICTURES}.")
    for number, picture in enumerate(pictures or ()):
        if isinstance(picture, Path):
            check_picture(picture)
        elif not isinstance(picture, Image.Image):
            raise ValueError(f"{field}[{number}] is {picture!r}; {PICTURES}.")
        elif why := fault(picture):
            raise ValueError(f"{field}[{number}], a picture in memory: {why}.")


def _worded(task: Task, sample: Sample) -> Example:
    """The example that the task makes of a sample.

    Raises:
        ValueError: it makes none, or one that no model can read.
    """
    try:
        example = task.word(sample)
    except Exception as error:
        raise ValueError(f"word() failed: {told(error)}.") from error
    if not isinstance(example, Example):
        raise ValueError(f"word() returned {_kind(example)}; expected a fedloom.core.contracts.Example.")
    check_text("its prompt", example.prompt)
    marks, pictures = example.prompt.count(IMAGE), len(example.images)
    if marks != pictures:
        raise ValueError(f"its prompt has {marks} marks {IMAGE} for {pictures} pictures; expected one for each.")
    if example.choices and example.answer not in example.choices:
        raise ValueError(f"it is worded with the answer {example.answer!r}, none of {list(example.choices)}.")
    if not isinstance(example.rejected, str):
        raise ValueError(f"its rejected answer is {example.rejected!r}; {TEXT}.")
    check_text("its rejected answer", example.rejected)
    for template in example.ensemble:
        if not isinstance(template, str):
            raise ValueError(f"its ensemble has {template!r}; {TEXT}.")
        check_text("its ensemble", template)
    return example if example.rejected else replace(example, rejected=sample.rejected)


def _kind(value: object) -> str:
    return f"a {type(value).__name__}" if value is not None else "None"
