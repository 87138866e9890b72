"""What a task gives is checked when it is loaded: errors name the task and the record, and cost what on_bad says."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fedloom.core.contracts import IMAGE, Data, Example, Sample, Task
from fedloom.core.errors import FedloomError
from fedloom.core.samples import guarded

GOOD = Sample("one", (Image.new("RGB", (4, 4)),), "text", "Which?", ("red", "blue"), "red", meta={"label": "red"})


def word(sample: Sample) -> Example:
    pictures = (*(sample.images or ()), *sample.choice_images)
    return Example(sample.id, pictures, f"{IMAGE}\n" * len(pictures) + "Which?", sample.choices, sample.answer)


def exact(sample: Sample, answer: str) -> float:
    return float(sample.answer == answer)


def task(*train: Any, test: Any = (GOOD,), word: Any = word, score: Any = exact) -> Task:
    return Task("mine", "accuracy", lambda: Data(train, test), word, score)


def refused(task: Any) -> str:
    with pytest.raises(FedloomError) as caught:
        guarded(task, "refuse").load()
    return str(caught.value)


@pytest.fixture
def pictures(tmp_path: Path) -> Callable[[str], Path]:
    def make(what: str) -> Path:
        file = tmp_path / f"{what}.{'jpg' if 'jpeg' in what else 'png'}"
        if what != "missing":
            Image.effect_noise((64, 64), 60).save(file)
        if "cut" in what:
            file.write_bytes(file.read_bytes()[:-400])
        if what == "text":
            file.write_text("no picture")
        return file

    return make


BROKEN: dict[str, tuple[Any, str]] = {
    "no sample": ("a text", "record number 1: it is a str; expected a fedloom.core.contracts.Sample"),
    "twice": (GOOD, "its id has stood there before"),
    "an id that is a number": (replace(GOOD, id=3), "id is 3; expected text"),  # type: ignore[arg-type]
    "a rejected answer that is right": (
        replace(GOOD, id="two", rejected="red"),
        "rejected 'red' is its answer; expected a worse one",
    ),
    "a rejected answer that is no text": (
        replace(GOOD, id="two", rejected=None),  # type: ignore[arg-type]
        "rejected is None; expected text",
    ),
    "another answer": (
        replace(GOOD, id="two", answer="green"),
        "answer 'green' is none of its choices, ['red', 'blue']",
    ),
    "half a character": (replace(GOOD, id="two", text="a \ud83d b"), r"text holds '\ud83d', half a character"),
    "half a character in a choice": (
        replace(GOOD, id="two", choices=("red", "\udc00")),
        r"choice 1 holds '\udc00', half a character",
    ),
    "a number to partition by": (replace(GOOD, id="two", meta={"grade": 3}), "meta 'grade' is 3; expected text"),  # type: ignore[dict-item]
    "a path as text": (replace(GOOD, id="two", images=("a.png",)), "images[0] is 'a.png'; expected pictures"),  # type: ignore[arg-type]
    "one picture alone": (replace(GOOD, id="two", images=GOOD.images[0]), "images is a Image; expected a tuple"),  # type: ignore[index, arg-type]
}


@pytest.mark.parametrize("half", ["train", "test"])
@pytest.mark.parametrize("what", BROKEN)
def test_a_record_that_cannot_be_used_is_named_or_skipped(what: str, half: str) -> None:
    broken, why = BROKEN[what]
    samples = (GOOD, broken, replace(GOOD, id="last"))
    made = task(*samples) if half == "train" else task(GOOD, test=samples)
    told = refused(made)
    assert told.startswith(f"task 'mine', {half} half, record ")
    assert why in told
    assert told.endswith("or skip broken records with --set data.on_bad=skip.")
    with pytest.warns(UserWarning, match=f"task 'mine', {half} half: 1 of 3 records skipped; the first: .*record"):
        left = getattr(guarded(made, "skip").load(), half)
    assert [sample.id for sample in left] == ["one", "last"]


@pytest.mark.parametrize("what", ["missing", "cut", "cut jpeg", "text"])
@pytest.mark.parametrize("field", ["images", "choice_images"])
def test_a_picture_that_does_not_open_is_found_when_the_data_is_loaded(
    what: str, field: str, pictures: Callable[[str], Path]
) -> None:
    good, bad = pictures("good jpeg"), pictures(what)
    samples = [replace(GOOD, id=file.stem, **{field: (file,)}) for file in (good, bad)]
    told = refused(task(*samples))
    assert f"task 'mine', train half, record {bad.stem!r}: image {bad} cannot be opened: " in told
    with pytest.warns(UserWarning, match="1 of 2 records skipped"):
        assert [sample.id for sample in guarded(task(*samples), "skip").load().train] == [good.stem]
    assert refused(task(GOOD, test=samples)).startswith("task 'mine', test half, ")


def test_a_picture_whose_white_is_not_known_costs_its_record_alone(tmp_path: Path) -> None:
    deep = Image.fromarray(np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4))
    deep.save(tmp_path / "deep.tiff")
    for picture, named in ((tmp_path / "deep.tiff", f"image {tmp_path / 'deep.tiff'} cannot"), (deep, "images[0], a")):
        samples = (GOOD, replace(GOOD, id="two", images=(picture,)))
        told = refused(task(*samples))
        assert told.startswith(f"task 'mine', train half, record 'two': {named}")
        assert "floating-point numbers from 0 to 1, and nothing says which of them is white" in told
        with pytest.warns(UserWarning, match="1 of 2 records skipped"):
            assert [sample.id for sample in guarded(task(*samples), "skip").load().train] == ["one"]


def test_a_file_is_read_through_again_once_it_has_changed(pictures: Callable[[str], Path]) -> None:
    file = pictures("good")
    made = guarded(task(replace(GOOD, images=(file,))), "refuse")
    assert len(made.load().train) == 1
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(FedloomError, match="cannot be opened"):
        made.load()


def fails(*_: object) -> Any:
    raise KeyError("label")


def test_what_a_users_own_code_raises_names_task_record_and_line() -> None:
    line = fails.__code__.co_firstlineno + 1
    where = f"KeyError: 'label' ({__file__}, line {line})."
    assert refused(Task("mine", "accuracy", fails, word, exact)) == f"task 'mine': its data cannot be loaded: {where}"
    assert refused(task(GOOD, word=fails)).startswith(f"task 'mine', train half, record 'one': word() failed: {where}")
    made = guarded(task(GOOD, word=lambda sample: word(sample) if sample.images else fails()), "refuse")
    with pytest.raises(FedloomError, match=r"task 'mine', record 'one': word\(\) failed: KeyError: 'label'"):
        made.word(replace(GOOD, images=None))
    with pytest.raises(FedloomError) as caught:
        guarded(task(GOOD, score=fails), "refuse").score(GOOD, "red")
    assert str(caught.value) == f"task 'mine', record 'one': score() of the answer 'red' failed: {where}"
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.parametrize("found", [float("nan"), 2, -0.1, "x", None])
def test_a_score_is_a_number_from_0_to_1(found: object) -> None:
    made = guarded(task(GOOD, score=lambda *_: found), "refuse")
    with pytest.raises(FedloomError, match=r"record 'one': score\(\) of the answer 'red'"):
        made.score(GOOD, "red")
    assert guarded(task(GOOD, score=lambda *_: True), "refuse").score(GOOD, "red") == 1.0


WORDED: dict[str, tuple[Callable[[Sample], Any], str]] = {
    "nothing": (lambda sample: None, "word() returned None; expected a fedloom.core.contracts.Example"),
    "no mark": (lambda sample: replace(word(sample), prompt="Which?"), "0 marks <image> for 1 pictures"),
    "another answer": (lambda sample: replace(word(sample), answer="RED"), "worded with the answer 'RED', none of"),
    "half a character": (lambda sample: replace(word(sample), prompt=IMAGE + "\ud83d"), "its prompt holds"),
}


@pytest.mark.parametrize("what", WORDED)
def test_what_no_model_could_read_is_found_when_the_data_is_loaded(what: str) -> None:
    worded, why = WORDED[what]
    assert why in refused(task(GOOD, word=worded))


def test_halves_and_tasks_that_are_none() -> None:
    assert "load() returned None; expected a Data" in refused(replace(task(), load=lambda: None))
    halves = replace(task(), load=lambda: Data({"a": 1}, ()))  # type: ignore[arg-type]
    assert "its train half is a dict; expected a tuple of Samples" in refused(halves)
    with pytest.raises(FedloomError, match="its function returned None; expected a fedloom"):
        guarded(None, "refuse")  # type: ignore[arg-type]
    bad = replace(GOOD, answer="green")
    with pytest.raises(FedloomError, match=r"its train half has no usable record; the first: .* 'green'"):
        guarded(task(bad), "skip").load()


def test_good_data_is_left_as_it_is() -> None:
    data = Data((GOOD, replace(GOOD, id="free", choices=(), answer="anything")), (GOOD,))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert guarded(replace(task(), load=lambda: data), "skip").load() == data


def test_a_rejected_answer_is_its_examples_unless_the_task_words_another() -> None:
    worse = replace(GOOD, rejected="blue")
    assert guarded(task(), "refuse").word(worse).rejected == "blue"
    own = task(word=lambda sample: replace(word(sample), rejected="red, or blue"))
    assert guarded(own, "refuse").word(worse).rejected == "red, or blue"
    assert guarded(task(), "refuse").word(GOOD).rejected == ""


def test_what_read_and_metrics_give_is_checked_and_named() -> None:
    one = Sample("s", None, None, "?", ("a", "b"), "a")
    made = guarded(
        replace(task(one), read=lambda s, answer: {"a": "a", "b": None}.get(answer, 7), metrics={"f": lambda s, a: 1}),  # type: ignore[arg-type,dict-item,return-value]
        "refuse",
    )
    assert made.read is not None
    assert (made.read(one, "a"), made.read(one, "b")) == ("a", None)
    with pytest.raises(FedloomError, match=r"record 's': read\(\) of the answer 'c' is 7; expected text, or None"):
        made.read(one, "c")
    assert made.metrics["f"]([], []) == 1.0
    for given, told in ((2, "is 2.0; expected a number from 0 to 1, or None"), (float("nan"), "is nan"), ("x", "fail")):
        bad = guarded(replace(task(one), metrics={"f": lambda s, a, given=given: given}), "refuse")
        with pytest.raises(FedloomError, match=rf"task '.*': its metric 'f' of 0 answers {told}"):
            bad.metrics["f"]([], [])
    assert guarded(replace(task(one), metrics={"f": lambda s, a: None}), "refuse").metrics["f"]([], []) is None


def test_an_ensemble_that_is_no_text_is_told_when_it_is_loaded() -> None:
    own = task(word=lambda sample: replace(word(sample), ensemble=("a {}", 3)))  # type: ignore[arg-type]
    with pytest.raises(FedloomError, match="its ensemble has 3; expected text"):
        guarded(own, "refuse").load()
