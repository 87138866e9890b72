"""What is written of a comparison: the tables and figures of what is finished, and why the rest is not."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from fedloom import engines
from fedloom.core.config import Experiment
from fedloom.core.errors import FedloomError
from fedloom.report import compare, outcome
from fedloom.report.outcome import Outcome
from fedloom.sweep import running
from fedloom.sweep.cells import Cell, comparison
from tests.sweep.compared_toy import cells


def of(source: str, axes: Sequence[str], found: Sequence[Cell]) -> Outcome:
    return outcome.outcome("toy", comparison(source, [], axes), found)


def run(experiment: Experiment, folder: Path) -> None:
    engines.run(experiment, folder)


def test_finished_cells_do_not_run_again_and_the_tables_hold_all(source: str, tmp_path: Path) -> None:
    found = cells(source, [], ["method=local,fedavg"], seeds=2)
    out = tmp_path / "out"
    assert list(running.run_missing(found[:3], out, run)) == [(cell, "") for cell in found[:3]]
    ran: list[Experiment] = []
    again = running.run_missing(found, out, lambda one, folder: (ran.append(one), run(one, folder))[1])
    assert list(again) == [(cell, "") for cell in found]
    assert ran == [cell.experiment for cell in found[3:]]
    rows, _, _ = compare.write(of(source, ["method=local,fedavg"], found), out)
    assert [(row.axes["method"], row.stats["final"].n) for row in rows] == [("local", 2), ("fedavg", 2)]
    finals = [engines.run(c.experiment, out / c.folder, resume=True)["final"] for c in found[2:]]
    assert rows[1].stats["final"].mean == pytest.approx(sum(finals) / 2)
    assert "±" in (out / "table.md").read_text(encoding="utf-8")
    assert (out / "table.csv").read_text(encoding="utf-8").startswith("method,n,zero_shot")
    assert (
        {file.stem for file in out.glob("*.svg")}
        == {file.stem for file in out.glob("*.png")}
        == {"scores", "bytes", "differences"}
    )


def test_a_run_that_fails_leaves_the_others(source: str, tmp_path: Path) -> None:
    found = cells(source, [], ["method=local,fedavg"], seeds=1)

    def fails(experiment: Experiment, folder: Path) -> None:
        if experiment.method.name == "local":
            raise FedloomError("all clients diverged.")
        run(experiment, folder)

    done = list(running.run_missing(found, tmp_path / "out", fails))
    assert done == [(found[0], "all clients diverged."), (found[1], "")]
    told = outcome.failed(of(source, ["method=local,fedavg"], found), done[:1])
    rows, _, _ = compare.write(told, tmp_path / "out")
    assert [row.axes["method"] for row in rows] == ["fedavg"]
    table = (tmp_path / "out" / "table.md").read_text(encoding="utf-8")
    assert table.endswith("- not finished: method=local seed=0: all clients diverged.\n")
    with pytest.raises(FedloomError, match="not one cell finished"):
        compare.write(told, tmp_path / "nothing")
