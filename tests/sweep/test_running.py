"""Running many experiments: only what is missing runs, side by side or not, and all of it ends when it is told to."""

import os
import re
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from subprocess import PIPE

import psutil
import pytest

from fedloom import engines
from fedloom.core.config import Experiment
from fedloom.core.errors import FedloomError
from fedloom.federation.record import RunFolder
from fedloom.federation.round import Stopped
from fedloom.sweep import running
from tests.engines.test_run import preset
from tests.federation.test_record import after
from tests.federation.test_record import outcome as left_by
from tests.sweep.compared_toy import cells


def run(experiment: Experiment, folder: Path) -> None:
    engines.run(experiment, folder)


def test_a_finished_cell_of_an_experiment_that_was_changed_since_is_refused(source: str, tmp_path: Path) -> None:
    before = cells(source, ["rounds=1"], ["method=local"], seeds=1)
    list(running.run_missing(before, tmp_path / "out", run))
    after = cells(source, ["rounds=2"], ["method=local"], seeds=1)
    with pytest.raises(FedloomError, match="rounds: 1 in the folder, 2 asked for"):
        list(running.run_missing(after, tmp_path / "out", run))


def test_processes_side_by_side_end_in_the_same_results(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    source = str(preset(tiny, tmp_path))
    sets = ["rounds=1", "engine.threads=1", "scenario.clients=3", "task.train=9"]
    found = cells(source, sets, ["method=fedavg,scaffold"], seeds=1)
    assert sorted(reason for _, reason in running.run_missing(found, tmp_path / "two", run, jobs=2)) == ["", ""]
    list(running.run_missing(found, tmp_path / "one", run))
    for cell in found:
        assert left_by(tmp_path / "one" / cell.folder) == left_by(tmp_path / "two" / cell.folder)


KILLED = """
import sys
from pathlib import Path
from fedloom.sweep import running
from fedloom.sweep.cells import comparison
if __name__ == "__main__":
    sets = ["engine.threads=1", "rounds=1000"]
    found = comparison(sys.argv[1], sets, ["method=fedavg,scaffold"], seeds=1).cells()
    list(running.run_missing(found, Path(sys.argv[2]), print, jobs=2))
"""


def test_processes_end_with_the_one_that_started_them(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    parent = psutil.Popen([sys.executable, str(script), str(preset(tiny, tmp_path)), str(tmp_path / "out")])
    try:
        until(lambda: len(list(tmp_path.glob("out/cells/*/*/rounds.jsonl"))) == 2)
        children = parent.children(recursive=True)
        assert len(children) >= 2
    finally:
        parent.kill()
        parent.wait()
    until(lambda: not any(child.is_running() and child.status() != "zombie" for child in children))


@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_runs_side_by_side_and_the_same_command_goes_on(
    tiny: Callable[[str], Path], tmp_path: Path, blow: signal.Signals
) -> None:
    command = [sys.executable, "-m", "fedloom.cli", "compare", str(preset(tiny, tmp_path)), "--axis"]
    command += ["method=fedavg,scaffold", "--seeds", "1", "--jobs", "2", "--set", "rounds=1000"]
    command += ["--set", "engine.threads=1", "--out", str(tmp_path / "out")]
    parent = psutil.Popen(command, stdout=PIPE, stderr=PIPE, text=True, start_new_session=True)
    try:
        until(lambda: len(list(tmp_path.glob("out/cells/*/*/rounds.jsonl"))) == 2)
        children = parent.children(recursive=True)
        os.killpg(parent.pid, blow)  # as a terminal and a service manager do
        out, err = parent.communicate(timeout=120)
    finally:
        with suppress(psutil.NoSuchProcess):  # as it should be
            parent.kill()
    assert (parent.returncode, "Traceback" in err) == (130, False)
    assert f"Stopped. Finished runs and rounds are saved in {tmp_path / 'out'}; the same command goes on.\n" in err
    assert re.match(r"\d\d:\d\d:\d\d 2 runs, 2 side by side\n", out)
    until(lambda: not any(child.is_running() and child.status() != "zombie" for child in children))
    folders = [file.parent for file in tmp_path.glob("out/cells/*/*/rounds.jsonl")]
    assert all(RunFolder(folder).last() is not None for folder in folders)  # whole rounds, to go on from


def test_what_is_at_work_is_told_with_its_rounds(source: str, tmp_path: Path) -> None:
    found = cells(source, [], ["method=local,fedavg,scaffold"], seeds=1)
    engines.run(found[0].experiment, tmp_path / found[0].folder)
    assert running.at_work(found, tmp_path) == []
    with pytest.raises(Stopped):
        engines.run(found[1].experiment, tmp_path / found[1].folder, stop=after(6))
    done = len((tmp_path / found[1].folder / "rounds.jsonl").read_text().splitlines())
    rounds = found[1].experiment.rounds
    assert running.at_work(found, tmp_path) == [f"method=fedavg seed=0 ({done} of {rounds} rounds)"]


def until(true: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)
