"""The benchmark of the engines: a real local cell, and what is made of notes, processes, figures and pages."""

import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import psutil
import pytest

from benchmarks import engines
from benchmarks.places import PLACES, PLAIN, Cell
from benchmarks.watched import Watched
from fedloom.core import config
from fedloom.core.errors import FedloomError
from fedloom.deploy.process import Process

SCRIPT = Path(engines.__file__)


def cell(engine: str, clients: int, megabytes: float, seconds: float, **more: Any) -> dict[str, Any]:
    """A cell with rounds of so many seconds."""
    made_up = {
        "engine": engine,
        "clients": clients,
        "megabytes": megabytes,
        "seconds_start": 3.0,
        "seconds_first": 2 * seconds,
        "seconds_round": seconds,
        "seconds_client_round": seconds / clients,
        "server_memory_bytes": 200_000_000,
        "other_memory_bytes": 0,
        "other": "",
        "loads_server": 1,
        "loads_clients": 0,
        "loads_sites": {},
    }
    return made_up | more


def written(file: Path, *lines: dict[str, Any]) -> Path:
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return file


def ended(number: int, at: float, **more: Any) -> dict[str, Any]:
    """The note of process 7 that a round ended."""
    return {"what": "round", "round": number, "at": at, "process": 7, **more}


@pytest.fixture(scope="module")
def plain() -> ModuleType:
    """The code of the app that is Flower alone."""
    pytest.importorskip("flwr")
    spec = importlib.util.spec_from_file_location("plain_fedavg", PLAIN / "fedavg.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_local_cell_is_measured_and_written(tmp_path: Path) -> None:
    file, page = tmp_path / "figures.json", tmp_path / "page.md"
    page.write_text("# Engines\n\nText.\n\n## Measured\n\nold figures\n", encoding="utf-8")
    asked = ["--engines", "local", "--clients", "3", "--megabytes", "0.01", "--rounds", "3"]
    command = [sys.executable, str(SCRIPT), *asked, "--json", str(file), "--results", str(page)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "models loaded: server + clients" in done.stdout
    found = json.loads(file.read_text())
    assert set(found) == {"command", "machine", "versions", "cells", "checks"}
    (local,) = found["cells"]
    assert {key: local[key] for key in ("engine", "clients", "megabytes", "rounds")} == {
        "engine": "local",
        "clients": 3,
        "megabytes": 0.01,
        "rounds": 3,
    }
    assert len(local["seconds_others"]) == 2
    assert local["seconds_client_round"] == pytest.approx(sum(local["seconds_others"]) / 6)
    assert (local["loads_server"], local["loads_clients"], local["other"]) == (1, 0, "")
    assert local["server_memory_bytes"] > 50e6  # torch alone takes more
    text = page.read_text(encoding="utf-8")
    assert text.startswith("# Engines\n\nText.\n\n## Measured\n\n`python benchmarks/engines.py --engines local")
    assert "old figures" not in text
    assert "| local | 3 | 0.01 |" in text
    assert "Load of the machine before the run: " in text


def test_a_single_round_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["engines.py", "--rounds", "1"])
    with pytest.raises(SystemExit, match="2"):
        engines.main()
    assert "at least 2" in capsys.readouterr().err


def test_the_first_round_stands_apart_and_loads_are_counted(tmp_path: Path) -> None:
    loads = [{"what": "load", "process": process} for process in (7, 8, 9, 9)]
    rounds = [ended(0, 10.0, peak=50), ended(1, 15.0, peak=70), ended(2, 16.0, peak=60), ended(3, 19.0, peak=60)]
    watched = Watched(written(tmp_path / "notes", *loads, *rounds), 3)
    watched.begun = 8.0
    assert watched.figures(4) == {
        "seconds_start": 2.0,
        "seconds_first": 5.0,
        "seconds_others": [1.0, 3.0],
        "seconds_round": 2.0,
        "seconds_client_round": 0.5,
        "server_memory_bytes": 70,
        "other_memory_bytes": 0,
        "other": "",
        "loads_server": 1,
        "loads_clients": 3,
    }


def test_a_round_without_every_client_is_no_measurement(tmp_path: Path) -> None:
    notes = written(tmp_path / "notes", ended(0, 1.0), ended(1, 2.0, replies=4), ended(2, 3.0, replies=3))
    with pytest.raises(FedloomError, match=r"rounds \[2\]: not all 4 clients answered"):
        Watched(notes, 2).figures(4)


def test_a_line_that_is_half_written_is_not_read(tmp_path: Path) -> None:
    notes = written(tmp_path / "notes", ended(0, 1.0))
    with notes.open("a") as file:
        file.write('{"what": "rou')
    assert [line["round"] for line in Watched(notes, 1).lines("round")] == [0]


def test_a_process_that_ends_too_soon_is_told_with_its_log(tmp_path: Path) -> None:
    part = Process("part", [sys.executable, "-c", "print('no such thing')"], tmp_path / "log", {})
    part.start()
    with pytest.raises(FedloomError, match=r"(?s)0 of 2 rounds were done.*no such thing"):
        Watched(tmp_path / "notes", 2).until_done([part])


def test_what_was_seen_is_measured_and_ended(tmp_path: Path) -> None:
    watched = Watched(tmp_path / "notes", 1)
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    until = time.monotonic() + 30
    while watched.peaks.get(psutil.Process(child.pid), 0) <= 2**20 and time.monotonic() < until:
        watched.look()  # at first it is a fork that has not become Python yet
    assert watched.peaks[psutil.Process(child.pid)] > 2**20
    watched.end()
    assert child.wait(10) == -9
    child.communicate()


@pytest.mark.parametrize("name", [name for name in PLACES if not name.startswith("plain-")])
def test_an_engines_experiment_can_be_read_back(name: str, tmp_path: Path) -> None:
    experiment = Cell(name, 5, 0.1, 3, tmp_path).experiment
    assert config.parse(config.dump(experiment), "here") == experiment
    assert (experiment.engine.name, experiment.engine.quorum, experiment.scenario.clients) == (name, 1.0, 5)


def test_times_are_held_against_the_goal_of_their_size() -> None:
    cells = [
        cell("local", 10, 0.1, 0.1),
        cell("plain-flower-simulation", 10, 0.1, 5.0),
        cell("local", 10, 16.0, 1.0),
        cell("plain-flower-simulation", 10, 16.0, 9.0),
        cell("local", 10, 4.0, 1.0),
        cell("plain-flower-simulation", 10, 4.0, 9.0),
    ]
    checks = engines.check(cells)
    assert [(entry["value"], entry["least"], entry["pass"]) for entry in checks] == [
        (50.0, 50.0, True),
        (9.0, 10.0, False),
        (9.0, None, None),
    ]


def test_the_local_engines_memory_is_compared_with_the_fewest_clients() -> None:
    cells = [
        cell("local", 100, 0.1, 1.0, server_memory_bytes=222),
        cell("local", 10, 0.1, 1.0, server_memory_bytes=200),
        cell("local", 50, 0.1, 1.0, server_memory_bytes=220),
    ]
    checks = engines.check(cells)
    assert [(entry["value"], entry["pass"]) for entry in checks] == [(1.11, False), (1.1, True)]
    assert engines.told(checks[0]) == "local, peak of memory, 100 clients, 0.1 MB / 10 clients: 1.11 (at most 1.1)"


def test_a_deployed_round_and_its_loads_have_limits_and_flower_alone_has_none() -> None:
    cells = [cell("flower", 2, 0.1, 2.5, loads_sites={"0": 1, "1": 2}), cell("plain-flower", 2, 0.1, 7.0)]
    assert [(entry["value"], entry["most"], entry["pass"]) for entry in engines.check(cells)] == [
        (2.5, 2.0, False),
        (2, 1, False),
        (7.0, None, None),
    ]


def test_a_row_has_every_column() -> None:
    given = cell("flower", 2, 16.0, 1.5, other="python", other_memory_bytes=390e6, loads_clients=2)
    expected = ["flower", "2", "16", "3.0", "3.00", "1.50", "750.0", "200", "390 (python)", "1 + 2"]
    assert engines.row(given) == expected
    assert engines.COLUMNS.count("|") + 1 == len(expected)


def test_a_plain_client_sends_back_the_arrays_that_came(
    plain: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flwr.app import ArrayRecord, Context, Message, RecordDict
    from flwr.supercore.task_identity import TaskIdentity

    for name in ("_run_id", "_node_id", "_task_id"):  # as in a process that Flower started
        monkeypatch.setattr(TaskIdentity, name, 1)
    notes = tmp_path / "notes"
    settings: dict[str, bool | float | int | str] = {"megabytes": 0.01, "notes": str(notes)}
    context = Context(run_id=1, node_id=2, node_config={}, state=RecordDict(), run_config=settings)
    # 128 arrays of 20 numbers are 0.01 MB
    sent = [np.full(20, number, dtype=np.float32) for number in range(128)]
    for _ in range(2):
        message = Message(RecordDict({"arrays": ArrayRecord(sent)}), dst_node_id=2, message_type="train")
        content = plain.train(message, context).content
        assert all(map(np.array_equal, content["arrays"].to_numpy_ndarrays(), sent))
        assert content["metrics"]["num-examples"] == 2
    assert [line["what"] for line in Watched(notes, 1).lines("load")] == ["load"]  # once a process
