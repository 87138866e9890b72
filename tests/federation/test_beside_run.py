"""What is merged beside a method, over whole runs: recorded, sampled, checkpointed, refused by a site."""

import json
from pathlib import Path
from typing import Any

import pytest

from fedloom.core.errors import FedloomError
from fedloom.federation.round import Stopped
from fedloom.federation.setup import Setup
from fedloom.site.policy import Policy
from tests.federation import kinds, toy
from tests.federation.conftest import Run
from tests.federation.test_record import after, outcome

MEASURED = (*kinds.SETS, 'method.with=["layerwise:measured,2.0"]', "rounds=4")


def rounds(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "rounds.jsonl").read_text().splitlines()]


def divergence(folder: Path) -> list[float]:
    return [line["figures"]["layerwise"]["rest"] for line in rounds(folder)]


def test_a_round_is_recorded_with_what_was_measured(run: Run, tmp_path: Path) -> None:
    run(*MEASURED)
    found = divergence(tmp_path / "run")
    assert all(0 < value <= 1 for value in found)
    assert len(set(found)) == 4
    run(*kinds.SETS, "rounds=4", out="plain")
    assert "figures" not in rounds(tmp_path / "plain")[0]
    one, other = (rounds(tmp_path / name) for name in ("run", "plain"))
    assert one[0]["loss"] == other[0]["loss"]  # nothing is held before something was measured
    assert one[1]["loss"] != other[1]["loss"]
    lines = [json.loads(line) for line in (tmp_path / "run" / "clients.jsonl").read_text().splitlines()]
    assert {"adapter", "modality"} <= lines[0]["parts_up"].keys()
    assert "layerwise" in lines[0]["parts_down"]


def test_clients_of_one_kind_have_the_bits_of_the_method_alone(run: Run, tmp_path: Path) -> None:
    run('method.with=["layerwise:measured"]')
    run(out="plain")
    assert divergence(tmp_path / "run") == [0.0, 0.0]
    adapters = [(tmp_path / name / "adapter" / "adapter.safetensors").read_bytes() for name in ("run", "plain")]
    assert adapters[0] == adapters[1]


@pytest.mark.parametrize("method", ["fedavg", "fedadam", "scaffold"])
def test_a_run_that_is_resumed_ends_in_the_same_bits(run: Run, tmp_path: Path, method: str) -> None:
    sets = (*MEASURED, f"method={method}", 'method.with=["layerwise:measured,2.0"]', "sampling.fraction=0.67")
    run(*sets, out="whole")
    with pytest.raises(Stopped):
        run(*sets, out="stopped", stop=after(5))
    run(*sets, out="stopped", resume=True)
    assert outcome(tmp_path / "stopped") == outcome(tmp_path / "whole")
    assert divergence(tmp_path / "stopped") == divergence(tmp_path / "whole")


def test_a_round_that_sees_one_group_keeps_the_last_value(run: Run, tmp_path: Path) -> None:
    run(*MEASURED, "sampling.fraction=0.34", "rounds=3")  # one of three
    assert divergence(tmp_path / "run") == [0.0] * 3


@pytest.mark.parametrize("channel", ["fp16", "int8"])
def test_it_crosses_a_channel(run: Run, tmp_path: Path, channel: str) -> None:
    run(*MEASURED, f'channel.up=["{channel}"]', f'channel.down=["{channel}"]')
    assert all(0 < value <= 1 for value in divergence(tmp_path / "run"))


def test_a_cohort_is_drawn_by_the_seed_and_the_round(run: Run, tmp_path: Path) -> None:
    """Methods that are compared under sampling see the same clients in the same rounds; seeds see others."""
    sets = ("scenario.clients=9", "scenario.minimum=1", "sampling.fraction=0.25", "rounds=5", "evaluation.every=0")
    for name, more in (("a", []), ("b", ["method=fedadam"]), ("c", ["seed=1"])):
        run(*sets, *more, out=name)
    cohorts = {name: [line["clients"] for line in rounds(tmp_path / name)] for name in "abc"}
    assert cohorts["a"] == cohorts["b"] != cohorts["c"]
    assert {len(cohort) for cohort in cohorts["a"]} == {2}
    assert len({tuple(cohort) for cohort in cohorts["a"]}) > 1


def test_a_site_may_refuse_to_tell_its_modality() -> None:
    local = Setup(toy.experiment(*MEASURED)).method.local
    Policy(reveals=["modality"]).check_local("fedavg", local)
    with pytest.raises(FedloomError, match="which reveals 'modality'"):
        Policy(reveals=["gradients"]).check_local("fedavg", local)


def test_a_margin_that_leaves_nothing_is_refused_before_the_first_round() -> None:
    with pytest.raises(FedloomError, match="'adaptive' leaves no layer to hold"):
        Setup(toy.experiment('method.with=["layerwise:adaptive"]')).check()


def test_ranks_by_level_over_a_run(run: Run, tmp_path: Path) -> None:
    """Clients of rank 2 and 1, edited from the second round on; a resumed run goes on with the count of rounds."""
    sets = ("method=fedilora", "adapter.rank_from=list", "adapter.ranks=[2, 1, 1]", "rounds=4")
    run(*sets, out="whole")
    with pytest.raises(Stopped):
        run(*sets, out="stopped", stop=after(5))
    run(*sets, out="stopped", resume=True)
    assert outcome(tmp_path / "stopped") == outcome(tmp_path / "whole")
    run(*sets, "method.edits=0", out="plain")
    one, other = (rounds(tmp_path / name) for name in ("whole", "plain"))
    assert one[0]["score"] == other[0]["score"]
    assert [line["loss"] for line in one[:2]] == [line["loss"] for line in other[:2]]  # edited at the end of round 2
    assert one[2]["loss"] != other[2]["loss"]


def test_signs_are_refused_where_b_has_none() -> None:
    with pytest.raises(FedloomError, match=r"begins as zeros, .* Fix: set adapter\.init = 'svd'"):
        Setup(toy.experiment("method=yoco", "rounds=1")).check()
