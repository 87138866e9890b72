from dataclasses import replace

import pytest
from PIL import Image

from fedloom.core.contracts import Sample
from fedloom.tasks._common import basis, exact

SAMPLE = Sample("1", None, None, "Which?", ("A", "a"), "A")


@pytest.mark.parametrize(
    ("choices", "right"),
    [
        (("A", "a"), "A"),
        (("yes", "yes."), "yes."),
        (("the cat", "the  cat"), "the cat"),
        (("red", " red", "RED"), " red"),
        (("\u00e9", "e\u0301"), "\u00e9"),
    ],
)
def test_no_choice_counts_as_another(choices: tuple[str, ...], right: str) -> None:
    sample = replace(SAMPLE, choices=choices, answer=right)
    assert {choice: exact(sample, choice) for choice in choices} == {choice: choice == right for choice in choices}


def test_half_of_alternating_answers_are_right_where_one_is_always_given() -> None:
    samples = [replace(SAMPLE, answer="Aa"[number % 2]) for number in range(10)]
    assert sum(exact(sample, "A") for sample in samples) == 5


def test_a_free_answer_may_differ_in_case_space_and_a_full_stop() -> None:
    free, chosen = (
        replace(SAMPLE, choices=(), answer="A cat"),
        replace(SAMPLE, choices=("a cat", "dog"), answer="a cat"),
    )
    for answer in ("a cat", " A  CAT .", "a cat."):
        assert exact(free, answer) == exact(chosen, answer) == 1.0
    assert exact(SAMPLE, " a .") == 0.0  # it could be either


def test_a_prompt_names_only_what_is_there_or_that_it_does_not_matter() -> None:
    picture = Image.new("RGB", (8, 8))
    every = {
        kind: replace(SAMPLE, images=images, text=text)
        for kind, images, text in (
            ("both", (picture,), "words"),
            ("image", (picture,), None),
            ("text", None, "words"),
            ("neither", None, None),
        )
    }
    named = {kind: basis(sample, "named") for kind, sample in every.items()}
    assert named == {
        "both": "Judge by the image and the text.",
        "image": "Judge by the image.",
        "text": "Judge by the text.",
        "neither": None,
    }
    assert {basis(sample, "agnostic") for sample in every.values()} == {"Judge without regard to modality."}
    assert {basis(sample, "plain") for sample in every.values()} == {None}
