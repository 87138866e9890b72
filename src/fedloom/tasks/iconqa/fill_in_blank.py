"""iconqa/fill_in_blank: answer a question about a diagram with a word or number of one's own."""

from pathlib import Path

from fedloom.core.contracts import Task
from fedloom.tasks._folder import OnBad
from fedloom.tasks.iconqa._data import Options, Split, task
from fedloom.tasks.icons_qa.fill_in_blank import score, word


def fill_in_blank(
    path: str | Path = "", on_bad: OnBad = "refuse", train_split: Split = "train", test_split: Split = "test"
) -> Task:
    """Answer a question about a diagram with a short word or number: a folder of IconQA (Lu et al. 2021).

    Worded and scored as ``icons-qa/fill_in_blank``: exact match up to case, space, a full stop, and numbers as words,
    where the authors compare the bare characters.
    ``on_bad``: what a broken record does, ``refuse`` the whole folder or be ``skip``-ped with a warning. Fields to
    partition by: ``skill`` (all that a question needs: ``counting+geometry``), ``grade``, ``lesson``, ``label``.
    """
    return task(Options("fill_in_blank", path, on_bad, train_split, test_split), word, score)
