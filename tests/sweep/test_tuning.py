"""Which candidate is taken, by scores that were written by hand."""

from pathlib import Path

import pytest

from fedloom.sweep import tuning
from fedloom.sweep.cells import Cell, comparison
from tests.federation import toy
from tests.report.made_up import change, run_folder

MEASURED = {"on": "validation", "examples": 4}
GRID = ["client.lr=0.1,0.2,0.3"]


def trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **given: object) -> list[Cell]:
    toy.use(monkeypatch)
    (tmp_path / "toy.toml").write_text(toy.toml())
    axes = ["method=fedavg,local"]
    return comparison(str(tmp_path / "toy.toml"), [], axes, tune=GRID, **given).trials()


def finish(cells: list[Cell], out: Path, scores: list[float | None]) -> None:
    for cell, score in zip(cells, scores, strict=True):
        if score is not None:
            target = out / cell.folder
            change(run_folder(target.parent, target.name), final=score, measured=MEASURED)


def test_the_best_is_taken_for_each_combination_and_the_first_of_equals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = trials(tmp_path, monkeypatch)
    finish(cells, tmp_path, [0.25, 0.75, 0.75, 0.5, 0.25, 0.0])
    found = tuning.choose(cells, tmp_path)
    assert found.chosen == {("fedavg",): {"client.lr": "0.2"}, ("local",): {"client.lr": "0.1"}}
    assert [one.taken for one in found.candidates] == [False, True, False, True, False, False]
    assert [(one.axes["method"], one.values) for one in tuning.at_an_end(found.candidates)] == [
        ("local", {"client.lr": "0.1"})
    ]


def test_several_seeds_count_by_their_mean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = trials(tmp_path, monkeypatch, tune_seeds=2)[:6]
    finish(cells, tmp_path, [0.9, 0.1, 0.6, 0.5, 0.5, 0.5])  # means 0.5, 0.55, 0.5
    found = tuning.choose(cells, tmp_path)
    assert found.chosen == {("fedavg",): {"client.lr": "0.2"}}
    assert [one.mean for one in found.candidates] == pytest.approx([0.5, 0.55, 0.5])


def test_one_that_failed_under_a_seed_is_passed_over_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = trials(tmp_path, monkeypatch, tune_seeds=2)[:6]
    finish(cells, tmp_path, [0.5, 0.5, 0.9, None, 0.25, 0.25])
    found = tuning.choose(cells, tmp_path, [(cells[3], "the loss is not a number")])
    assert found.chosen == {("fedavg",): {"client.lr": "0.1"}}
    assert found.candidates[1].reason == "the loss is not a number"
    assert found.candidates[1].mean is None


def test_where_all_failed_nothing_is_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = trials(tmp_path, monkeypatch)
    finish(cells, tmp_path, [None, None, None, 0.1, 0.2, 0.3])
    found = tuning.choose(cells, tmp_path)
    assert found.chosen == {("local",): {"client.lr": "0.3"}}
    assert [one.reason for one in found.candidates[:3]] == [tuning.NOT_FINISHED] * 3
