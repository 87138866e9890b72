"""Real processes on loopback: the same adapter as on the local engine, whatever is killed on the way."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("flwr")

from fedloom import engines
from fedloom.deploy.loopback import Kill
from tests.engines import sited
from tests.engines.noted import Noted

KILLS = ("worker:1@1", "supernode:0@2", "superlink@3", "server@4")


pytestmark = pytest.mark.usefixtures("own_code")


def adapter(folder: Path) -> bytes:
    return (folder / "adapter" / "adapter.safetensors").read_bytes()


def local(folder: Path, *sets: str) -> dict[str, Any]:
    return engines.run(sited.experiment(*sets), folder)


def test_whatever_is_killed_the_result_is_what_it_would_have_been(
    tmp_path: Path, own_code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets = ["method=scaffold", "rounds=5"]  # scaffold: every site keeps a state of its own
    expected = local(tmp_path / "local", *sets)
    own_code.unlink()
    monkeypatch.setenv(sited.AWAITED, str(tmp_path / "awaited"))  # a round goes on once its part is killed
    (tmp_path / "awaited").mkdir()
    (tmp_path / "awaited" / "count").write_text(str(len(KILLS)))
    (tmp_path / "awaited" / "rounds").symlink_to(tmp_path / "run" / "rounds.jsonl")
    watch = Noted(tmp_path / "awaited" / "happened")
    experiment = sited.experiment(*sets, "engine.name=flower")
    kills = [Kill.parse(text, 3) for text in KILLS]
    result = engines.run(experiment, tmp_path / "run", watch=watch, kills=kills)
    assert result["left_out"] == []
    assert adapter(tmp_path / "run") == adapter(tmp_path / "local")
    assert result["final"] == expected["final"]
    assert [text for text in watch.told if text.endswith("is killed")] == [
        f"round {number}: {part} is killed"
        for number, part in ((1, "worker of site 1"), (2, "supernode of site 0"), (3, "superlink"), (4, "server"))
    ]
    # One load a site, one more for the worker that was killed, one a server (three: the first and two resumed ones)
    # and one of this process, which checked the experiment.
    assert len(own_code.read_text().split()) == 3 + 1 + 3 + 1
    assert not (tmp_path / "run.machines").exists()


def test_sites_with_data_of_their_own_train_on_it_and_measure_themselves(tmp_path: Path) -> None:
    for name, train, test in (("mercy", 9, 4), ("charite", 5, 3)):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "train").write_text(str(train))
        (tmp_path / "data" / name / "test").write_text(str(test))
    sets = ["task=tests.engines.sited:own", f"data.path={tmp_path / 'data'}", "evaluation.where=clients", "rounds=1"]
    sets += ["scenario=sites", 'scenario.names=["mercy", "charite"]', "scenario.clients=2", "engine.name=flower"]
    result = engines.run(sited.experiment(*sets), tmp_path / "run")
    assert [(row["client"], row["examples"]) for row in result["per_client"]] == [("mercy", 9), ("charite", 5)]
    scores = {row["client"]: row["final"] for row in result["per_client"]}
    assert result["final"] == pytest.approx((4 * scores["mercy"] + 3 * scores["charite"]) / 7)


def test_rays_simulation_gives_the_same_adapter(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    local(tmp_path / "local", "method=scaffold")
    result = engines.run(sited.experiment("method=scaffold", "engine.name=flower-simulation"), tmp_path / "run")
    assert adapter(tmp_path / "run") == adapter(tmp_path / "local")
    assert result["left_out"] == []
