from pathlib import Path

import pytest

from fedloom.core.errors import FedloomError
from fedloom.report import outcome
from fedloom.report.folders import default, report, with_bounds
from fedloom.report.outcome import Outcome, Ran
from tests.report.made_up import change, run_folder


def test_a_page_about_several_runs_is_none_of_theirs(tmp_path: Path) -> None:
    one, other = run_folder(tmp_path, "a"), run_folder(tmp_path, "b")
    assert report([one]) == one / "report.html"
    own = (one / "report.html").read_bytes()
    assert report([one, other]) == tmp_path / "report-a-vs-b.html"
    assert (one / "report.html").read_bytes() == own
    assert "2 runs, side by side" in (tmp_path / "report-a-vs-b.html").read_text()


def test_a_run_is_drawn_with_the_bounds_that_lie_beside_it(tmp_path: Path) -> None:
    run = run_folder(tmp_path, "a")
    for bound, score in (("local", 0.3), ("centralised", 0.9)):
        change(run_folder(tmp_path, f"a-{bound}", method=bound), final=score)
    assert with_bounds(run) == [run, tmp_path / "a-local", tmp_path / "a-centralised"]
    report([run])
    assert "each client alone" in (run / "report.html").read_text()
    (tmp_path / "a-local" / "result.json").unlink()  # it is not finished
    assert with_bounds(run) == [run, tmp_path / "a-centralised"]
    (tmp_path / "a-centralised").rename(tmp_path / "b-centralised")
    assert with_bounds(run) == [run]


def test_a_run_named_twice_is_one_run(tmp_path: Path) -> None:
    folder = run_folder(tmp_path, "a")
    assert report([folder, folder / ".." / "a"]) == folder / "report.html"


def test_long_names_make_a_name_that_a_file_can_have(tmp_path: Path) -> None:
    folders = [tmp_path / (letter * 80) for letter in "\u65e5xy"]
    name = default(folders).name
    assert name.startswith("report-3-runs-")
    assert len(name.encode()) < 255
    assert name != default(folders[::-1]).name


def test_a_comparison_has_the_page_of_what_is_finished_of_it(tmp_path: Path) -> None:
    folder = tmp_path / "x-compare"
    cells = []
    for method in ("fedavg", "scaffold"):
        run_folder(folder / "cells" / f"method={method}", "seed-0", method=method)
        place = f"cells/method={method}/seed-0"
        cells.append(Ran(name=f"method={method} seed=0", axes={"method": method}, seed=0, folder=place))
    (folder / cells[1].folder / "result.json").unlink()
    outcome.save(Outcome(name="x", baseline={"method": "fedavg"}, cells=cells), folder)
    assert report([folder]) == folder / "report.html"
    text = (folder / "report.html").read_text()
    assert "Not finished: 1 of 2 cells are" in text
    assert '<th scope="row">method=scaffold seed=0</th><td>not finished</td>' in text


def test_what_is_no_run_is_named(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "c" / "cells").mkdir(parents=True)
    run = run_folder(tmp_path / "runs", "a")
    for folders, message in [
        ([tmp_path / "gone"], "gone: there is no such run folder"),
        ([tmp_path / "file"], "file is a file; expected a run folder"),
        ([tmp_path / "runs"], r"runs is no run folder: .* It holds run folders: .*a; name them"),
        ([tmp_path / "c"], r"compare\.json is missing: no run of this comparison has begun"),
        ([run, tmp_path / "c"], "c is the folder of a comparison.* Report it alone"),
        ([], "no run folder given"),
    ]:
        with pytest.raises(FedloomError, match=message):
            report(folders)
    with pytest.raises(FedloomError, match=r"--out .*runs is a folder"):
        report([run], tmp_path / "runs")
