"""iconqa/choose_img: choose the picture that answers a question about a diagram."""

from pathlib import Path

from fedloom.core.contracts import Task
from fedloom.tasks._common import exact
from fedloom.tasks._folder import OnBad
from fedloom.tasks.iconqa._data import Options, Split, task
from fedloom.tasks.icons_qa.choose_img import word


def choose_img(
    path: str | Path = "", on_bad: OnBad = "refuse", train_split: Split = "train", test_split: Split = "test"
) -> Task:
    """Choose among 2 to 5 pictures the one that answers a question about another: a folder of IconQA (Lu et al. 2021).

    Worded and scored as ``icons-qa/choose_img``: the answer is a letter, one a picture.
    ``on_bad``: what a broken record does, ``refuse`` the whole folder or be ``skip``-ped with a warning. Fields to
    partition by: ``skill`` (all that a question needs: ``counting+geometry``), ``grade``, ``lesson``, ``label``.
    """
    return task(Options("choose_img", path, on_bad, train_split, test_split), word, exact)
