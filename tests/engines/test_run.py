"""``engines.run`` and ``export``: refusals that leave nothing behind, and runs that are killed and go on."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from fedloom import engines
from fedloom.core import config
from fedloom.core.contracts import Data, Task
from fedloom.core.errors import FedloomError
from fedloom.federation.record import RunFolder
from fedloom.federation.round import Stopped
from tests.federation import toy
from tests.federation.test_record import after, outcome
from tests.tasks.test_contract import nlvr_folder

Tiny = Callable[[str], Path]


LONG = {"g0": "\u0436" * 60, "g1": "\u5317" * 100, "g2": "CON"}
"""Names of groups that are no file names as they are, or too long for one."""


def long_names() -> Task:
    """The toy's task, with groups of such names."""
    whole = toy.task()

    def load() -> Data:
        halves = whole.load().train, whole.load().test
        named = [tuple(replace(s, meta={**s.meta, "group": LONG[s.meta["group"]]}) for s in half) for half in halves]
        return Data(*named)

    return replace(whole, load=load)


class TestRefusals:
    """Bad input: a clear error, and no folder."""

    @pytest.fixture(autouse=True)
    def _toy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        toy.use(monkeypatch)

    @pytest.mark.parametrize(
        ("sets", "words"),
        [
            (["method.name=fedavgg"], "'fedavg'"),
            (["task.name=icons-qa/choose"], "icons-qa/choose_txt"),
            (["scenario.name=dirichlett"], "'dirichlet'"),
            (["engine.name=loca"], "'local'"),
            (["sampling.name=uniformly"], "'uniform'"),
            (["channel.up=['fp17']"], "'fp16'"),
            (["method=fedprox", "method.muu=1"], "'mu'"),
            (["scenario=dirichlet", "scenario.alpha=0"], "alpha"),
            (["scenario=dirichlet", "scenario.alpha=-1.0"], "alpha"),
            (["scenario.clients=19", "scenario.minimum=1"], "19 clients"),
            (["scenario.clients=10"], "lower scenario.clients"),
            (["adapter.ranks=[1,2]"], "flexlora, hetlora or stacking"),
            (["scenario=natural", "scenario.by=packs"], "packs"),
            (["data.path=/nowhere"], "reads no folder"),
        ],
    )
    def test_leave_no_folder(self, tmp_path: Path, sets: list[str], words: str) -> None:
        with pytest.raises(FedloomError, match="(?s)" + words.replace("/", r"\/")):
            engines.run(toy.experiment(*sets), tmp_path / "run")
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        "sets", ["rouns=3", "client.lrr=0.1", "client.lr=-1", "adapter.alpha=0", "rounds=0", "client=3", "lr"]
    )
    def test_a_key_or_value_that_is_wrong_in_the_file(self, sets: str) -> None:
        with pytest.raises(FedloomError, match=sets.split("=")[0].split(".")[0]):
            toy.experiment(sets)

    @pytest.mark.parametrize("broken", ["missing", "corrupt"])
    def test_a_picture_that_cannot_be_read(self, tmp_path: Path, broken: str) -> None:
        folder = nlvr_folder(tmp_path / "nlvr")
        picture = next((folder / "images").iterdir())
        picture.unlink()
        if broken == "corrupt":
            picture.write_bytes(b"no picture")
        experiment = toy.experiment("task=nlvr", f"data.path={folder}", "scenario.clients=2")
        with pytest.raises(FedloomError, match=f"(?s)line .*{picture.name}.*on_bad=skip"):
            engines.run(experiment, tmp_path / "run")
        assert not (tmp_path / "run").exists()

    def test_a_full_disk_at_the_very_beginning(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("fedloom.federation.record.write_atomic", full)
        with pytest.raises(FedloomError, match="No space left on device"):
            engines.run(toy.experiment(), tmp_path / "run")


class TestToy:
    @pytest.fixture(autouse=True)
    def _toy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        toy.use(monkeypatch)

    @pytest.mark.parametrize("resume", [False, True])
    def test_a_second_process_is_refused_until_the_first_is_gone(self, tmp_path: Path, resume: bool) -> None:
        experiment, out = toy.experiment("rounds=3"), tmp_path / "run"
        reading, begun = os.pipe()
        child = os.fork()
        if child == 0:  # a real process that is in the middle of a round for ever

            def stop() -> bool:
                if RunFolder(out).last():
                    os.write(begun, b"!")
                    signal.pause()
                return False

            engines.run(experiment, out, stop=stop)
            os._exit(0)
        os.read(reading, 1)
        others = toy.experiment("rounds=3", "seed=1")
        for second in (experiment, experiment if resume else others):
            with pytest.raises(FedloomError, match=rf"{out}: process {child} on .+ since .+ is at work in it"):
                engines.run(second, out, resume=resume)
        engines.export(out, tmp_path / "exported")  # reading is no writing
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with pytest.raises(FedloomError, match="already holds something"):
            engines.run(experiment, out)
        engines.run(experiment, out, resume=True)
        engines.run(experiment, tmp_path / "whole")
        assert outcome(out) == outcome(tmp_path / "whole")
        assert not (out / "run.lock").exists()

    @pytest.mark.parametrize("method", ["scaffold", "local"])
    def test_clients_have_the_longest_names(self, tmp_path: Path, method: str) -> None:
        sets = (f"task={__name__}:long_names", "scenario=natural", "scenario.by=group", f"method={method}", "rounds=2")
        experiment = toy.experiment(*sets)
        result = engines.run(experiment, tmp_path / "run")
        assert sorted(client["client"] for client in result["per_client"]) == sorted(LONG.values())
        kept = [folder.name for folder in (tmp_path / "run" / "checkpoint" / "clients").iterdir()]
        assert len(kept) == 3
        assert all(len(name.encode()) <= 120 for name in kept)
        assert "CON" not in kept

    def test_a_finished_run_in_a_folder_that_cannot_be_written_is_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = engines.run(toy.experiment(), tmp_path / "run")
        monkeypatch.setattr("fedloom.core.lock.hold", None)
        assert engines.run(toy.experiment(), tmp_path / "run", resume=True) == first

    def test_a_finished_run_is_only_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        first = engines.run(toy.experiment(), tmp_path)
        monkeypatch.setattr(engines, "Setup", None)  # whatever builds anything breaks
        assert engines.run(toy.experiment(), tmp_path, resume=True) == first

    @pytest.mark.parametrize("method", ["fedavg", "scaffold", "stacking", "local"])
    @pytest.mark.parametrize("number", [0, 1, 2, 3])
    def test_a_process_killed_after_any_round_goes_on_to_the_same_bits(
        self, tmp_path: Path, method: str, number: int
    ) -> None:
        experiment = toy.experiment(f"method={method}", "rounds=3")
        engines.run(experiment, tmp_path / "whole")
        child = os.fork()
        if child == 0:  # a real process, killed by itself at the worst moment: right after the checkpoint
            save = RunFolder.save

            def deadly(folder: RunFolder, checkpoint: Any) -> None:
                save(folder, checkpoint)
                if checkpoint.round == number:
                    os.kill(os.getpid(), signal.SIGKILL)

            RunFolder.save = deadly  # type: ignore[method-assign]
            engines.run(experiment, tmp_path / "killed")
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        assert not (tmp_path / "killed" / "result.json").exists()
        engines.run(experiment, tmp_path / "killed", resume=True)
        assert outcome(tmp_path / "killed") == outcome(tmp_path / "whole")

    @pytest.mark.parametrize("seed", range(3))
    def test_a_process_killed_again_and_again_at_any_moment_goes_on_to_the_same_bits(
        self, tmp_path: Path, seed: int
    ) -> None:
        experiment = toy.experiment("method=scaffold", "channel.up=['feedback','topk:0.5']", "rounds=6")
        begun = time.monotonic()
        engines.run(experiment, tmp_path / "whole")
        work, draw = time.monotonic() - begun, random.Random(seed)
        for number in range(4):
            child = os.fork()
            if child == 0:
                try:
                    engines.run(experiment, tmp_path / "killed", resume=number > 0)
                finally:  # whatever happens, it is not to go on with the tests
                    os._exit(0)
            time.sleep(draw.uniform(0, work))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        engines.run(experiment, tmp_path / "killed", resume=True)
        assert outcome(tmp_path / "killed") == outcome(tmp_path / "whole")
        assert not (tmp_path / "killed" / "damaged").exists()

    @pytest.mark.parametrize("resume", [True, False])
    def test_a_process_killed_before_its_run_had_a_configuration_left_nothing(
        self, tmp_path: Path, resume: bool
    ) -> None:
        experiment = toy.experiment("method=scaffold")
        engines.run(experiment, tmp_path / "whole")
        folder = tmp_path / "killed"
        folder.mkdir()
        (folder / "run.id").write_text("0123456789abcdef\n")
        (folder / ".config.toml.x1y2.part").write_text("name =")
        engines.run(experiment, folder, resume=resume)
        assert outcome(folder) == outcome(tmp_path / "whole")
        assert (folder / "run.id").read_text() == "0123456789abcdef\n"

    def test_exports_the_last_checkpoint_of_a_run_that_is_not_finished(self, tmp_path: Path) -> None:
        experiment = toy.experiment("rounds=3", "model.name=toy")
        with pytest.raises(Stopped):
            engines.run(experiment, tmp_path / "run", stop=after(9))
        engines.export(tmp_path / "run", tmp_path / "out")
        last = RunFolder(tmp_path / "run").last()
        assert last is not None
        exported = load_file(tmp_path / "out" / "adapter.safetensors")
        assert all(torch.equal(exported[name], value) for name, value in last.state["adapter"].items())
        assert "in 2 rounds" in " ".join((tmp_path / "out" / "README.md").read_text().split())
        with pytest.raises(FedloomError, match="already exists"):
            engines.export(tmp_path / "run", tmp_path / "out")

    def test_export_of_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(FedloomError, match="no run"):
            engines.export(tmp_path, tmp_path / "out")
        RunFolder.create(tmp_path / "begun", toy.experiment())
        with pytest.raises(FedloomError, match="no checkpoint yet"):
            engines.export(tmp_path / "begun", tmp_path / "out")
        engines.run(toy.experiment(), tmp_path / "run")

        def full(self: toy.Toy, folder: Path, *_: Any) -> None:
            folder.mkdir()
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(toy.Toy, "save", full)
        with pytest.raises(FedloomError, match=r"No space left.*Nothing was written"):
            engines.export(tmp_path / "run", tmp_path / "out")
        assert {path.name for path in tmp_path.iterdir()} == {"begun", "run"}


# --- the real thing: another process, a real architecture ---------------------------------------------------------

SETS = ["rounds=12", "client.batch_size=4", "engine.threads=1"]


def preset(tiny: Tiny, folder: Path) -> Path:
    """An experiment on the tiny LLaVA: two clients, drawn questions."""
    file = folder / "tiny.toml"
    file.write_text(
        f"""
name = "tiny"
[model]
name = "{tiny("llava")}"
[adapter]
rank = 2
[task]
name = "icons-qa/fill_in_blank"
train = 8
test = 6
[scenario]
name = "iid"
clients = 2
"""
    )
    return file


@dataclass
class Struck:
    """A ``fedloom run`` in a process of its own that was killed when it had saved round 1."""

    source: Path
    folder: Path
    code: int


METHODS = ["fedavg", "scaffold", "stacking"]


@pytest.fixture(scope="module")
def struck(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Struck]:
    """One of each method, all at once: most of their time is importing."""
    root = tmp_path_factory.mktemp("struck")
    source = preset(tiny, root)
    environment = {**os.environ, "OMP_WAIT_POLICY": "passive", "TOKENIZERS_PARALLELISM": "false"}
    processes = {}
    for method in METHODS:
        sets = [part for text in [*SETS, f"method={method}"] for part in ("--set", text)]
        command = [sys.executable, "-m", "fedloom.cli", "run", str(source), *sets, "--out", str(root / method)]
        processes[method] = subprocess.Popen(command, env=environment)
    alive, deadline = dict(processes), time.monotonic() + 300
    while alive:
        for method in list(alive):
            saved = any((root / method).glob("checkpoint/round-00000[123].*"))
            if saved or alive[method].poll() is not None or time.monotonic() > deadline:
                alive.pop(method).kill()
        time.sleep(0.002)
    return {method: Struck(source, root / method, process.wait()) for method, process in processes.items()}


@pytest.mark.parametrize("method", METHODS)
def test_a_run_of_a_real_model_killed_by_another_goes_on_to_the_same_bits(
    struck: dict[str, Struck], tmp_path: Path, method: str
) -> None:
    one = struck[method]
    assert one.code == -signal.SIGKILL
    assert not (one.folder / "result.json").exists()
    experiment = config.load(one.source, [*SETS, f"method={method}"])
    engines.run(experiment, one.folder, resume=True)
    engines.run(experiment, tmp_path / "whole")
    assert outcome(one.folder) == outcome(tmp_path / "whole")


def test_a_model_that_cannot_answer_the_task_leaves_no_folder(tiny: Tiny, tmp_path: Path) -> None:
    """A CLIP has no free answers: known only when it is first asked, and still as if the run had never begun."""
    sets = [f"model.name={tiny('clip')}", "task.train=20", "task.test=10", 'adapter.where=["vision"]']
    with pytest.raises(FedloomError):
        engines.run(config.load("quickstart", sets), tmp_path / "run")
    assert not (tmp_path / "run").exists()
