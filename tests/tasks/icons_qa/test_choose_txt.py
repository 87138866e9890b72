"""icons-qa/choose_txt: evenly dealt, unseen wordings by default, one line of prompt."""

from collections import Counter
from dataclasses import replace

import pytest

from fedloom.core import resolve
from fedloom.core.contracts import Sample
from fedloom.core.errors import FedloomError
from fedloom.tasks._icons.packs import PRIVATE
from fedloom.tasks._icons.skills import SKILLS
from fedloom.tasks.icons_qa.choose_txt import word

SAMPLE = Sample("1", None, None, "How many keys are there?", ("1", "2", "3"), "2")


def test_words_the_prompt() -> None:
    example = word(SAMPLE)
    assert example.prompt == "Question: How many keys are there? Choices: 1, 2, 3. Answer:"
    assert example.caption.format("2") == "How many keys are there? 2"
    assert word(replace(SAMPLE, question=None)).prompt == "Choices: 1, 2, 3. Answer:"


def test_examples_are_dealt_evenly_over_packs_and_skills() -> None:
    data = resolve.build("tasks", "icons-qa/choose_txt", {"train": 260, "test": 130}).load()
    assert Counter(s.meta["pack"] for s in data.train) == dict.fromkeys(PRIVATE, 26)
    assert Counter(s.meta["skill"] for s in data.train) == dict.fromkeys(SKILLS, 20)
    assert {s.meta["wording"] for s in (*data.train, *data.test)} == {"2"}


def test_packs_skills_and_wordings_can_be_chosen() -> None:
    options = {"train": 30, "test": 10, "packs": ["mdi"], "skills": ["time"], "wordings": "public"}
    data = resolve.build("tasks", "icons-qa/choose_txt", options).load()
    found = {(s.meta["pack"], s.meta["skill"]) for s in (*data.train, *data.test)}
    assert found == {("mdi", "time")}
    assert {s.meta["wording"] for s in data.train} == {"0", "1"}


def test_unknown_skills_and_sizes_are_refused() -> None:
    with pytest.raises(FedloomError, match=r"'tme'.*'time'"):
        resolve.build("tasks", "icons-qa/choose_txt", {"skills": ["tme"]})
    with pytest.raises(FedloomError, match="train"):
        resolve.build("tasks", "icons-qa/choose_txt", {"train": 0})
