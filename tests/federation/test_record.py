"""The run folder: nothing half written, nothing lost, nothing mixed up; a resumed run has the bits of a whole one."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fedloom.core import config, files
from fedloom.core.contracts import Data
from fedloom.core.errors import FedloomError
from fedloom.federation import record, sealed
from fedloom.federation.checkpoints import Checkpoint
from fedloom.federation.record import RunFolder
from fedloom.federation.round import Stopped
from fedloom.report.runs import read
from tests.federation import toy

Run = Callable[..., dict[str, Any]]
METHODS = ["fedavg", "scaffold", "stacking", "flexlora", "fedadam", "local", "centralised"]
MEASURED = ("seconds", "peak_memory_bytes")


def outcome(folder: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """What must be equal: the result without what was measured by the clock, and every adapter's bytes."""
    result = json.loads((folder / "result.json").read_text())
    adapters = {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.glob("adapter/**/*.safetensors"))}
    assert adapters
    return {key: value for key, value in result.items() if key not in MEASURED}, adapters


def after(replies: int) -> Callable[[], bool]:
    """A ``stop`` that comes true after so many replies (it is also asked before each round)."""
    asked = iter(range(10**6))
    return lambda: next(asked) >= replies


def checkpoints(folder: Path) -> list[Path]:
    return sorted((folder / "checkpoint").glob("round-*"))


@pytest.mark.parametrize("method", METHODS)
def test_a_run_stopped_anywhere_and_resumed_has_the_same_bits(run: Run, tmp_path: Path, method: str) -> None:
    run(f"method={method}", "rounds=4", out="whole")
    for replies in (2, 6, 9, 12):
        out = f"stopped-{replies}"
        try:
            run(f"method={method}", "rounds=4", out=out, stop=after(replies))
        except Stopped:
            run(f"method={method}", "rounds=4", out=out, resume=True)
        assert outcome(tmp_path / out) == outcome(tmp_path / "whole")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("finished", [True, False])
def test_more_rounds_end_in_the_bits_of_a_run_that_had_them_from_the_beginning(
    run: Run, tmp_path: Path, method: str, finished: bool
) -> None:
    run(f"method={method}", "rounds=4", out="whole")
    if finished:
        run(f"method={method}", "rounds=2")
    else:
        with pytest.raises(Stopped):
            run(f"method={method}", "rounds=3", stop=after(5))
    run(f"method={method}", "rounds=4", resume=True)
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")
    assert config.load(tmp_path / "run" / "config.toml").rounds == 4
    with pytest.raises(FedloomError, match="4 in the folder, 2 asked for"):
        run(f"method={method}", "rounds=2", resume=True)


@pytest.mark.parametrize("method", ["scaffold", "local"])
def test_a_checkpoint_cut_short_gives_way_to_the_one_before_it(run: Run, tmp_path: Path, method: str) -> None:
    sets = (f"method={method}", "rounds=5")
    run(*sets, out="whole")
    with pytest.raises(Stopped):
        run(*sets, stop=after(3 * 4 + 2))  # in the middle of round 4
    folder = tmp_path / "run"
    before, last = checkpoints(folder)
    assert [before.stem, last.stem] == ["round-000002", "round-000003"]
    last.write_bytes(last.read_bytes()[:-9])
    assert (RunFolder(folder).last() or pytest.fail("none")).round == 2
    run(*sets, resume=True)
    assert outcome(folder) == outcome(tmp_path / "whole")


def test_only_the_last_checkpoints_and_turns_stay(run: Run, tmp_path: Path) -> None:
    run("method=scaffold", "rounds=7")
    folder = tmp_path / "run"
    assert [file.stem for file in checkpoints(folder)] == ["round-000006", "round-000007"]
    for client in "012":
        turns = sorted(file.stem for file in (folder / "checkpoint" / "clients" / client).iterdir())
        assert turns == ["000005", "000006", "000007"]


def test_a_state_survives_with_its_bits_its_empty_slots_and_its_facts(tmp_path: Path) -> None:
    tensors = {"w": torch.tensor([1e-42, -0.0, 3.3]), "h": torch.ones(2, dtype=torch.float16), "n": torch.tensor(7)}
    saved = Checkpoint(3, {"adapter": tensors, "base": {}}, {"best": 0.1 + 0.2, "zero_shot": 0.0})
    RunFolder(tmp_path).save(saved)
    found = RunFolder(tmp_path).last()
    assert found is not None
    assert (found.round, found.facts, found.state.keys()) == (3, saved.facts, saved.state.keys())
    assert found.state["base"] == {}
    for name, value in tensors.items():
        assert found.state["adapter"][name].dtype == value.dtype
        assert found.state["adapter"][name].numpy().tobytes() == value.numpy().tobytes()


def full_disk(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """From now on there is no space for files of this name."""
    write = files.write_atomic

    def full(target: Path, content: bytes) -> None:
        if target.name == name:
            raise OSError(28, "No space left on device", str(target))
        write(target, content)

    for module in (record, sealed):
        monkeypatch.setattr(module, "write_atomic", full)


@pytest.mark.parametrize("name", ["round-000002.safetensors", "after.json", "examples.json", "result.json"])
def test_a_full_disk_is_told_and_what_was_saved_is_whole(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    run("method=scaffold", out="whole")
    with monkeypatch.context() as patch:
        full_disk(patch, name)
        with pytest.raises(FedloomError, match=r"No space left on device.*saved.*resume"):
            run("method=scaffold")
    assert (RunFolder(tmp_path / "run").last() or pytest.fail("none")).round in (1, 2)
    run("method=scaffold", resume=True)
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")


def test_what_a_killed_process_left_half_written_is_cleared(run: Run, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        run("method=scaffold", stop=after(4))
    halves = [tmp_path / "run" / "checkpoint" / name for name in (".a.safetensors.7.part", "clients/0/.b.9.part")]
    for half in halves:
        half.write_bytes(b"half")
    run("method=scaffold", resume=True)
    assert not any(half.exists() for half in halves)


def test_lines_cut_short_are_passed_over(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.append("rounds.jsonl", [{"round": 1}, {"round": 2}])
    with (tmp_path / "rounds.jsonl").open("a") as file:
        file.write('{"round": 3, "sc')
    assert folder.rows("rounds.jsonl") == [{"round": 1}, {"round": 2}]
    assert folder.rows("clients.jsonl") == []


class TestFinished:
    """A finished run, whose files are listed with their hashes."""

    def test_the_list_is_one_that_sha256sum_reads(self, run: Run, tmp_path: Path) -> None:
        run("method=local")
        done = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=tmp_path / "run", capture_output=True, text=True)
        assert done.returncode == 0
        told = {line.removesuffix(": OK") for line in done.stdout.splitlines()}
        files = {"rounds.jsonl", "clients.jsonl", "before.json", "after.json", "partition.json", "baselines.json"}
        weights = {f"adapter/clients/{client}/adapter.safetensors" for client in "012"}
        assert told == files | weights | {"examples.json", "result.json", "adapter/adapter.safetensors"}

    @pytest.mark.parametrize("name", ["result.json", "after.json", "partition.json", "adapter/adapter.safetensors"])
    def test_a_figure_that_was_changed_is_told_and_made_again(
        self, run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
    ) -> None:
        run("method=local", out="whole")
        run("method=local")
        file = tmp_path / "run" / name
        blob = file.read_bytes()
        last = max(blob.rfind(b"1"), blob.rfind(b"2")) if name.endswith("json") else len(blob) - 1
        changed = blob[:last] + (b"1" if blob[last:][:1] != b"1" else b"2") + blob[last + 1 :]  # as valid as before
        file.write_bytes(changed)
        if not name.startswith("adapter"):
            with pytest.raises(FedloomError, match=f"{file} is not what was written: its hash tells.*--resume"):
                read(tmp_path / "run")
        run("method=local", resume=True)
        assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")
        assert [each.read_bytes() for each in tmp_path.glob(f"run/damaged/*/{name}")] == [changed]
        assert str(file) in caplog.text
        read(tmp_path / "run")

    def test_lines_that_were_changed_are_refused(self, run: Run, tmp_path: Path) -> None:
        run()
        file = tmp_path / "run" / "clients.jsonl"
        file.write_text(file.read_text().replace('"steps": 3', '"steps": 4', 1))
        with pytest.raises(FedloomError, match=f"{file} is not what was written: its hash tells.*from a copy"):
            read(tmp_path / "run")
        with pytest.raises(FedloomError, match=f"{file}: the first .* were changed"):
            run(resume=True)

    @pytest.mark.parametrize("name", ["adapter/adapter.safetensors", "partition.json", "examples.json", "after.json"])
    def test_a_file_that_is_gone_is_made_again(self, run: Run, tmp_path: Path, name: str, caplog: Any) -> None:
        run()
        file = tmp_path / "run" / name
        was = file.read_bytes()
        file.unlink()
        run(resume=True)
        assert file.read_bytes() == was
        assert f"{file} is missing. It is made again." in caplog.text or name == "after.json"  # told with its round

    def test_a_list_that_names_other_files_is_none(self, run: Run, tmp_path: Path) -> None:
        run()
        mine = tmp_path / "mine"
        mine.write_text("mine")
        with (tmp_path / "run" / "SHA256SUMS").open("a") as file:
            file.write(f"{'0' * 64}  ../mine\n")
        run(resume=True)
        assert mine.read_text() == "mine"
        assert (tmp_path / "run" / "damaged" / "1" / "SHA256SUMS").exists()

    def test_more_rounds_have_a_list_of_their_own(self, run: Run, tmp_path: Path) -> None:
        run("rounds=2")
        with pytest.raises(Stopped):
            run("rounds=4", resume=True, stop=after(3))
        assert not (tmp_path / "run" / "SHA256SUMS").exists()
        run("rounds=4", resume=True)
        assert (tmp_path / "run" / "SHA256SUMS").exists()
        assert not (tmp_path / "run" / "damaged").exists()


class TestFolder:
    @pytest.mark.parametrize("content", ["notes.txt", "config.toml"])
    def test_one_that_holds_something_is_refused_and_left_as_it_is(
        self, run: Run, tmp_path: Path, content: str
    ) -> None:
        folder = tmp_path / "run"
        folder.mkdir()
        (folder / content).write_text("mine")
        with pytest.raises(FedloomError, match=r"already holds something.*--resume.*--out"):
            run()
        assert [(f.name, f.read_text()) for f in folder.iterdir()] == [(content, "mine")]

    def test_a_file_in_its_place_is_refused(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "run").write_text("mine")
        with pytest.raises(FedloomError, match="run is a file; expected the folder of a run"):
            run()
        assert (tmp_path / "run").read_text() == "mine"

    def test_resume_where_there_is_something_else_is_refused(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "notes.txt").write_text("mine")
        with pytest.raises(FedloomError, match="already holds something"):
            run(resume=True)

    def test_resume_where_there_is_nothing_begins(self, run: Run) -> None:
        assert run("rounds=1", resume=True)["rounds"] == 1

    def test_resume_of_another_experiment_is_refused_naming_what_differs(self, run: Run) -> None:
        run("rounds=3")
        with pytest.raises(FedloomError, match=r"another experiment \(rounds: 3 in the folder, 1 asked for\)"):
            run("rounds=1", resume=True)
        with pytest.raises(FedloomError, match=r'\(method.name: "fedavg" in the folder, "scaffold" asked for\)'):
            run("rounds=3", "method=scaffold", resume=True)
        with pytest.raises(FedloomError, match=r"rounds: 3 in the folder, 9 asked for; client.lr: 0.1 in the folder"):
            run("rounds=9", "client.lr=0.2", resume=True)

    def test_more_rounds_are_refused_where_the_rates_depend_on_their_number(self, run: Run, tmp_path: Path) -> None:
        first = run("rounds=2", "client.schedule=cosine")
        with pytest.raises(FedloomError, match=r"rounds: 2 in the folder, 3 asked for, and client.schedule = 'cosine'"):
            run("rounds=3", "client.schedule=cosine", resume=True)
        assert run("rounds=2", "client.schedule=cosine", resume=True) == first

    @pytest.mark.parametrize("what", ["data", "model"])
    def test_resume_with_other_data_or_another_model_is_refused(
        self, run: Run, monkeypatch: pytest.MonkeyPatch, what: str
    ) -> None:
        with pytest.raises(Stopped):
            run("method=scaffold", stop=after(4))
        with monkeypatch.context() as patch:
            if what == "model":
                patch.setattr(toy.Toy, "fingerprint", "another")
            else:
                whole = toy.task().load()
                other = Data(tuple(replace(one, id=f"new-{one.id}") for one in whole.train), whole.test)
                task = replace(toy.task(), load=lambda: other)
                patch.setattr(toy, "task", lambda: task)
            with pytest.raises(FedloomError, match=f"the {what} is not what this run began with"):
                run("method=scaffold", resume=True)
        run("method=scaffold", resume=True)

    def test_workers_and_the_name_do_not_make_it_another(self, run: Run) -> None:
        first = run("rounds=1")
        assert run("rounds=1", "name=other", "engine.workers=2", resume=True) == first

    def test_holds_the_resolved_configuration(self, run: Run, tmp_path: Path) -> None:
        run("rounds=1", "client.lr=0.5")
        assert config.load(tmp_path / "run" / "config.toml") == toy.experiment(toy.BENT, "rounds=1", "client.lr=0.5")
