"""Cells of a comparison: which there are, where they lie, and that only missing ones run."""

from pathlib import Path

import pytest

from fedloom import engines
from fedloom.core.errors import FedloomError
from fedloom.report import compare
from tests.federation import toy


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    toy.use(monkeypatch)
    file = tmp_path / "toy.toml"
    file.write_text(toy.toml(method='name = "fedprox"\nmu = 0.5'))
    return str(file)


def test_every_combination_seeds_innermost(source: str) -> None:
    found = compare.cells(source, [], ["method.name=fedavg,scaffold", "client.lr=0.1,0.2"], seeds=2)
    assert [(cell.axes["method"], cell.axes["client.lr"], cell.seed) for cell in found] == [
        (method, lr, seed) for method in ("fedavg", "scaffold") for lr in ("0.1", "0.2") for seed in (0, 1)
    ]
    for cell in found:
        experiment = cell.experiment
        assert experiment.method.name == cell.axes["method"]
        assert (str(experiment.client.lr), experiment.seed) == (cell.axes["client.lr"], cell.seed)
    assert found[1].folder == Path("cells/method=fedavg,client.lr=0.1/seed-1")
    assert len({cell.folder for cell in found}) == 8


def test_without_axes_the_method_stands_between_its_bounds(source: str) -> None:
    found = compare.cells(source, ["seed=5"], [], seeds=1)
    assert [cell.axes["method"] for cell in found] == ["local", "fedprox", "centralised"]
    assert [cell.seed for cell in found] == [5, 5, 5]
    alone = compare.cells(source, ["method=local"], [], seeds=1)
    assert [cell.axes["method"] for cell in alone] == ["local", "centralised"]


def test_the_experiments_own_choice_keeps_its_options_and_others_begin_fresh(source: str) -> None:
    own, other = compare.cells(source, [], ["method.name=fedprox,fedavg"], seeds=1)
    assert own.experiment.method.options == {"mu": 0.5}
    assert other.experiment.method.options == {}
    tuned, *_ = compare.cells(source, [], ["method.mu=1.0,2.0"], seeds=1)
    assert tuned.experiment.method.options == {"mu": 1.0}


@pytest.mark.parametrize("choice", ["method=fedprox", "method.name=fedprox"])
def test_the_order_of_axes_drops_no_option(source: str, choice: str) -> None:
    Path(source).write_text(toy.toml())
    for axes in (["method.mu=0.1,1.0", choice], [choice, "method.mu=0.1,1.0"]):
        found = compare.cells(source, [], axes, seeds=1)
        assert [cell.experiment.method.options for cell in found] == [{"mu": 0.1}, {"mu": 1.0}]


def test_an_option_set_for_all_cells_stays_or_is_refused(source: str) -> None:
    (cell,) = compare.cells(source, ["scenario.alpha=0.1"], ["scenario=quantity"], seeds=1)
    assert cell.experiment.scenario.options == {"alpha": 0.1}
    with pytest.raises(FedloomError, match=r"\[scenario\] 'iid' has no key 'alpha'"):
        compare.cells(source, ["scenario.alpha=0.1"], ["scenario=quantity,iid"], seeds=1)


def test_the_bounds_do_not_take_the_methods_options(source: str) -> None:
    found = compare.cells(source, ["method.mu=2.0", "rounds=1"], [], seeds=1)
    assert [cell.experiment.method.options for cell in found] == [{}, {"mu": 2.0}, {}]
    assert [cell.experiment.rounds for cell in found] == [1, 1, 1]


@pytest.mark.parametrize(
    ("axes", "words"),
    [
        (["method.name"], "expected key=value,value"),
        (["method.name=,"], "expected key=value,value"),
        (["method=fedavg", "method.name=local"], "given twice"),
        (["seed=1,2"], "--seeds"),
        (["methods=fedavg"], "unknown key"),
        (["method=fedavg,fedavgg"], "'fedavg'"),
        (["rounds=1,none"], "rounds"),
    ],
)
def test_axes_that_are_refused(source: str, axes: list[str], words: str) -> None:
    with pytest.raises(FedloomError, match=words):
        compare.cells(source, [], axes, seeds=1)


def test_a_value_given_twice_is_one_cell(source: str) -> None:
    assert len(compare.cells(source, [], ["rounds=1,1,2"], seeds=1)) == 2


def run(cell: compare.Cell, folder: Path) -> None:
    engines.run(cell.experiment, folder)


def test_finished_cells_do_not_run_again_and_the_tables_hold_all(source: str, tmp_path: Path) -> None:
    found = compare.cells(source, [], ["method=local,fedavg"], seeds=2)
    out = tmp_path / "out"
    assert list(compare.run_missing(found[:3], out, run)) == found[:3]
    ran: list[compare.Cell] = []
    again = compare.run_missing(found, out, lambda cell, folder: (ran.append(cell), run(cell, folder))[1])
    assert list(again) == found
    assert ran == found[3:]
    rows = compare.write(found, out)
    assert [(row.axes["method"], row.stats["final"].n) for row in rows] == [("local", 2), ("fedavg", 2)]
    finals = [engines.run(c.experiment, out / c.folder, resume=True)["final"] for c in found[2:]]
    assert rows[1].stats["final"].mean == pytest.approx(sum(finals) / 2)
    assert "±" in (out / "table.md").read_text(encoding="utf-8")
    assert (out / "table.csv").read_text(encoding="utf-8").startswith("method,n,zero_shot")
    assert {file.stem for file in out.glob("*.svg")} == {file.stem for file in out.glob("*.png")} == {"scores", "bytes"}


def test_a_finished_cell_of_an_experiment_that_was_changed_since_is_refused(source: str, tmp_path: Path) -> None:
    before = compare.cells(source, ["rounds=1"], ["method=local"], seeds=1)
    list(compare.run_missing(before, tmp_path / "out", run))
    after = compare.cells(source, ["rounds=2"], ["method=local"], seeds=1)
    with pytest.raises(FedloomError, match="rounds: 1 there, 2 here"):
        list(compare.run_missing(after, tmp_path / "out", run))
