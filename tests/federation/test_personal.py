"""A second adapter that never leaves its client: it is kept, it answers, it survives, and nobody else notices it."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from fedloom.core import tree, wire
from fedloom.core.contracts import Job, Reply, Tree
from fedloom.federation.kept import Kept
from fedloom.federation.record import RunFolder
from fedloom.federation.round import Stopped
from fedloom.federation.setup import Setup
from tests.federation import toy
from tests.federation.conftest import Run
from tests.federation.test_record import after, outcome

METHODS = ["ditto", "feddpa-f"]
every = pytest.mark.parametrize("method", METHODS)
UNEVEN = ("scenario=shards", "scenario.by=label", "scenario.clients=3", "rounds=3", "client.epochs=4")
"""Clients whose data differ, so that their own models do."""


def shared(folder: Path) -> Tree:
    last = RunFolder(folder).last()
    assert last is not None
    return last.state["adapter"]


def product(adapter: Tree) -> torch.Tensor:
    return adapter[toy.B] @ adapter[toy.A]


def own_weight(method: str, setup: Setup, globally: Tree, own: Tree) -> torch.Tensor:
    """The weight of a client's own model, densely."""
    if method == "ditto":
        return setup.scale * product(own)
    return setup.scale * (0.5 * product(globally) + 0.5 * product(own))


def answers(weight: torch.Tensor, ids: Iterable[str]) -> list[str]:
    return [toy.CHOICES[int((weight @ toy.features(id)).argmax())] for id in ids]


@every
def test_it_is_kept_by_round_and_moves_on_its_own(run: Run, tmp_path: Path, method: str) -> None:
    run(f"method={method}", *UNEVEN)
    kept = Kept(tmp_path / "run" / "checkpoint" / "clients")
    initial = Setup(toy.experiment()).initial
    for client in "012":
        seen = [kept.read(client, round)["personal"] for round in (1, 2, 3)]
        assert all(one.keys() == initial.keys() for one in seen)
        assert len({tree.fingerprint(one) for one in [*seen, shared(tmp_path / "run")]}) == 4


@every
def test_each_clients_own_model_answers_its_examples(run: Run, tmp_path: Path, method: str) -> None:
    sets = (f"method={method}", *UNEVEN)
    run(*sets)
    setup, folder = Setup(toy.experiment(*sets)), tmp_path / "run"
    given = json.loads((folder / "after.json").read_text())["answers"]
    kept, globally = Kept(folder / "checkpoint" / "clients"), shared(folder)
    differ = 0
    for client, mine in zip(setup.partition.names, setup.partition.test, strict=True):
        ids = [setup.data.test[index].id for index in mine]
        own = kept.read(client, 3)["personal"]
        found = [given[index] for index in mine]
        assert found == answers(own_weight(method, setup, globally, own), ids)
        differ += found != answers(setup.scale * product(globally), ids)
    assert differ  # the shared model would have answered otherwise


@every
def test_it_is_exported_as_the_model_that_answers(run: Run, tmp_path: Path, method: str) -> None:
    sets = (f"method={method}", *UNEVEN)
    run(*sets)
    setup, folder = Setup(toy.experiment(*sets)), tmp_path / "run"
    kept, globally = Kept(folder / "checkpoint" / "clients"), shared(folder)
    for client in "012":
        saved = load_file(folder / "adapter" / "clients" / client / "adapter.safetensors")
        base = {name.removeprefix("base."): value for name, value in saved.items() if name.startswith("base.")}
        weight = setup.scale * product(saved) + (product(base) if base else 0)
        own = kept.read(client, 3)["personal"]
        torch.testing.assert_close(weight, own_weight(method, setup, globally, own))
    whole = load_file(folder / "adapter" / "adapter.safetensors")
    assert tree.fingerprint(whole) == tree.fingerprint(globally)


@pytest.mark.parametrize("method", ["ditto weighting=examples", "ditto lam=5.0 weighting=examples", "feddpa-f"])
def test_the_shared_adapter_and_every_reply_have_fedavgs_bits(run: Run, tmp_path: Path, method: str) -> None:
    name, *options = method.split()
    replies: dict[str, list[bytes]] = {"own": [], "plain": []}

    def noted(into: str) -> toy.Bend:
        def note(job: Job, reply: Reply) -> Iterable[Reply]:
            replies[into].append(reply.parcel)
            return [reply]

        return note

    sets = ("scenario=quantity", "rounds=3")
    run(f"method={name}", *(f"method.{option}" for option in options), *sets, bend=noted("own"), out="own")
    run("method=fedavg", *sets, bend=noted("plain"), out="plain")
    assert tree.fingerprint(shared(tmp_path / "own")) == tree.fingerprint(shared(tmp_path / "plain"))
    assert len(replies["own"]) == 9
    assert replies["own"] == replies["plain"]
    assert wire.unpack(replies["own"][0], max_bytes=2**20).trees.keys() == {"adapter"}


@every
def test_a_run_stopped_anywhere_and_resumed_has_the_same_bits(run: Run, tmp_path: Path, method: str) -> None:
    sets = (f"method={method}", "rounds=4")
    run(*sets, out="whole")
    for replies in (2, 4, 6, 11):
        out = f"stopped-{replies}"
        with pytest.raises(Stopped):
            run(*sets, out=out, stop=after(replies))
        run(*sets, out=out, resume=True)
        assert outcome(tmp_path / out) == outcome(tmp_path / "whole")


@every
def test_a_client_without_a_turn_has_the_shared_model(run: Run, tmp_path: Path, method: str) -> None:
    def never(job: Job, reply: Reply) -> Iterable[Reply]:
        return [Reply("1", error="on strike")] if job.client == "1" else [reply]

    sets = (f"method={method}", *UNEVEN)
    run(*sets, bend=never)
    setup, folder = Setup(toy.experiment(*sets)), tmp_path / "run"
    assert {file.name for file in (folder / "adapter" / "clients").iterdir()} == {"0", "2"}
    given: dict[str, Any] = json.loads((folder / "after.json").read_text())
    mine = setup.partition.test[1]
    assert mine
    wanted = answers(setup.scale * product(shared(folder)), [setup.data.test[index].id for index in mine])
    assert [given["answers"][index] for index in mine] == wanted


def test_dittos_personal_adapter_stays_nearer_to_the_shared_one_the_larger_lam(run: Run, tmp_path: Path) -> None:
    far = []
    for lam in (0.0, 1.0, 4.0):
        run("method=ditto", f"method.lam={lam}", *UNEVEN, out=f"{lam}")
        kept, globally = Kept(tmp_path / f"{lam}" / "checkpoint" / "clients"), shared(tmp_path / f"{lam}")
        owns = [kept.read(client, 3)["personal"] for client in "012"]
        far.append(sum(float(tree.squared_norm(tree.sub(own, globally))) for own in owns))
    assert far[0] > far[1] > far[2] > 0
