"""icons-qa/fill_in_blank: free answers, in which a number may be a word."""

import pytest

from fedloom.core.contracts import Sample
from fedloom.tasks.icons_qa.fill_in_blank import score, word

SAMPLE = Sample("1", None, None, "How many keys are there?", (), "3")


def test_words_the_prompt_without_choices() -> None:
    example = word(SAMPLE)
    assert (example.prompt, example.choices) == ("Question: How many keys are there? Answer:", ())


@pytest.mark.parametrize(("answer", "points"), [("3", 1), ("three", 1), (" Three. ", 1), ("13", 0), ("four", 0)])
def test_numbers_may_be_words(answer: str, points: int) -> None:
    assert score(SAMPLE, answer) == points
