from pathlib import Path

import pytest

from fedloom.report.lines import bounds, lines
from fedloom.report.runs import Run, read
from tests.report.made_up import change, run_folder


@pytest.fixture
def runs(tmp_path: Path) -> list[Run]:
    made = [run_folder(tmp_path, name, method=name) for name in ("local", "fedavg", "centralised")]
    change(made[0], final=0.5)
    change(made[1], chance=0.25, majority={"answer": "yes", "score": 0.4, "of": "train"})
    change(made[2], final=0.8)
    return [read(folder) for folder in made]


def test_bounds_are_runs_of_the_same_task_beside_another_method(runs: list[Run]) -> None:
    assert [run.name for run in bounds(runs)] == ["local", "centralised"]
    assert bounds([runs[0], runs[2]]) == []
    runs[0].settings["task"]["name"] = "nlvr"
    assert [run.name for run in bounds(runs)] == ["centralised"]


def test_a_bound_has_the_same_modality_whether_or_not_its_folder_knew_of_it(runs: list[Run]) -> None:
    runs[1].settings["modality"] = {"name": "complete"}  # a later release's folder writes every default
    runs[1].settings["model"]["absent"] = "refuse"
    assert [run.name for run in bounds(runs)] == ["local", "centralised"]
    runs[1].settings["modality"] = {"name": "missing", "rate": 0.4}
    assert bounds(runs) == []


def test_two_runs_of_a_bounds_method_are_compared(runs: list[Run]) -> None:
    assert [run.name for run in bounds([*runs, runs[0]])] == ["centralised"]


def test_lines_say_what_they_are(runs: list[Run]) -> None:
    found = lines([runs[2], runs[0]], [runs[1]])
    assert [(line.name, line.score) for line in found] == [
        ("each client alone", 0.5),
        ("all data in one place", 0.8),
        ("a choice at random", 0.25),
        ("always \u201cyes\u201d", 0.4),
    ]


def test_the_most_frequent_choice_is_no_one_answer(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    change(folder, majority={"answer": None, "score": 0.4, "of": "train"})
    assert [(line.name, line.score) for line in lines([], [read(folder)])][-1] == ("most frequent choice", 0.4)


def test_chance_and_majority_are_drawn_where_all_runs_agree_on_them(runs: list[Run]) -> None:
    assert lines([], [runs[1], runs[0]]) == []
    assert len(lines([], [runs[1], runs[1]])) == 2
