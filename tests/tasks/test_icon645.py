"""icon645: the authors' layout, and what a folder without it gets."""

from pathlib import Path

import pytest

from fedloom.core import resolve
from fedloom.core.contracts import Task
from fedloom.core.errors import FedloomError
from tests.tasks.folders import icon645_folder, paint


def task(folder: Path | str, **options: object) -> Task:
    made: Task = resolve.build("tasks", "icon645", dict(options), path=folder, on_bad="refuse")
    return made


def test_classes_are_folders_and_a_share_of_each_is_tested(tmp_path: Path) -> None:
    made = task(icon645_folder(tmp_path))
    assert made.classes is not None
    assert made.classes() == ("hare", "mole rat", "red fox")
    data = made.load()
    assert (len(data.train), len(data.test)) == (12, 3)  # five of each: a tenth is one
    assert {sample.answer for sample in data.test} == {"hare", "mole rat", "red fox"}
    assert made.word(data.train[0]).caption == "a {} icon"
    assert made.name == "icon645"
    paint(tmp_path / "elsewhere" / "cat.png", 3)  # beside the icons: no class
    assert len(made.load().train) == 12


def test_a_folder_without_the_icons_is_refused(tmp_path: Path) -> None:
    for folder, match in (
        ("", r"'icon645' reads a folder \(colored_icons_final\)"),
        (tmp_path, "has no colored_icons"),
    ):
        made = task(folder)
        assert made.classes is not None
        for attempt in (made.load, made.classes):
            with pytest.raises(FedloomError, match=match):
                attempt()
