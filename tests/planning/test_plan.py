"""A plan says what a run then does: its bytes are those of the run, whatever the method and the channel."""

import json
from typing import Any

import pytest
import torch

from fedloom.core.contracts import Parcel
from fedloom.core.errors import FedloomError
from fedloom.planning import plan as plans
from fedloom.planning.plan import plan
from fedloom.planning.stand_in import Noise, Sizes, StandIn, in_tensors, quick
from tests.federation import toy
from tests.federation.conftest import Run

OWN = "model.name=of.my:own"
"""A model that no configuration describes; every model of this room is the toy."""

ADAPTER = 4 * 2 * (4 + 2)
"""Bytes of the toy's adapter: A [2, 4] and B [2, 2]."""

ROUNDING = 16
"""Bytes by which headers may differ: they hold counts and a loss as text, padded to eight."""


def turns(tmp_path: Any, round: int) -> list[dict[str, Any]]:
    rows = map(json.loads, (tmp_path / "run" / "clients.jsonl").read_text().splitlines())
    return [row for row in rows if row["round"] == round]


def split(parts: dict[str, int]) -> tuple[dict[str, int], int]:
    """Bytes without the header, and those of the header."""
    return {part: count for part, count in parts.items() if part != "header"}, parts.get("header", 0)


@pytest.mark.parametrize(
    "sets",
    [
        [],
        ["method=scaffold"],
        ["method=fedadam"],
        ["method=flexlora", "adapter.ranks=[1,2]"],
        ["method=stacking", "adapter.ranks=[1,2]"],
        ["method=centralised"],
        ["method=local"],
        ["method=fedilora", "adapter.ranks=[1,2]"],
        ['method.with=["layerwise:measured"]'],
        ['channel.up=["fp16"]', 'channel.down=["bf16"]', "method=scaffold"],
        ["sampling.fraction=0.5", "client.optimizer=adamw"],
    ],
    ids=lambda sets: " ".join(sets) or "fedavg",
)
def test_the_bytes_planned_are_those_of_a_run(sets: list[str], run: Run, tmp_path: Any) -> None:
    found = plan(toy.experiment(OWN, *sets))
    result = run(OWN, *sets)
    assert found.parameters == result["parameters"]
    assert [each.number for each in found.rounds] == [1, 2]
    for each in found.rounds:
        rows = turns(tmp_path, each.number)
        assert sum(turn.clients for turn in each.turns) == len(rows)
        for way in ("down", "up"):
            total: dict[str, int] = {}
            for row in rows:
                for part, count in row[f"parts_{way}"].items():
                    total[part] = total.get(part, 0) + count
            planned, header = split(getattr(each, way))
            measured, real_header = split(total)
            assert planned == measured
            assert abs(header - real_header) <= ROUNDING * len(rows)


@pytest.mark.parametrize("fraction", ["1.0", "0.4"])
def test_a_turn_of_each_rank_stands_for_a_cohort_too_large_to_go_through(
    fraction: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets = ["scenario.clients=5", f"sampling.fraction={fraction}"]
    stacks = toy.experiment(OWN, "method=stacking", "adapter.ranks=[1,2]", *sets)
    means = toy.experiment(OWN, "method=fedavg", *sets)
    all_stacks, all_means = plan(stacks), plan(means)
    monkeypatch.setattr(plans, "FOLDED", 1)
    cut = plan(stacks)
    assert cut.rounds == all_stacks.rounds[:1]
    assert "and no later round" in cut.notes[-1]
    assert sum(turn.clients for turn in cut.rounds[0].turns) == 5 * float(fraction)
    assert cut.server["replies folded"] >= all_stacks.server["replies folded"]
    assert plan(means).rounds == all_means.rounds  # additive: a later round does not depend on how many reply


def test_the_memory_of_a_client_adds_up_from_its_adapter() -> None:
    needed = plan(toy.experiment(OWN, "client.optimizer=adamw")).client
    assert needed["adapter"] == needed["gradients"] == ADAPTER
    assert needed["optimiser"] == needed["copies of the adapter"] == 2 * ADAPTER
    assert "weights" not in needed
    assert "activations" not in needed
    assert "optimiser" not in plan(toy.experiment(OWN)).client  # plain SGD has no state
    hooks = plan(toy.experiment(OWN, "method=scaffold"))
    assert hooks.kept == ADAPTER  # its own control variate
    assert hooks.client["method"] == 3 * ADAPTER  # that, the sum of the gradients, and c - c_k


def test_means_take_the_server_no_more_memory_for_more_clients_and_stacks_do() -> None:
    def folded(method: str, clients: int) -> int:
        return plan(toy.experiment(OWN, f"method={method}", f"scenario.clients={clients}")).server["replies folded"]

    assert folded("fedavg", 4) == folded("fedavg", 8) >= 2 * ADAPTER  # in float64
    assert folded("stacking", 4) == 4 * ADAPTER
    assert folded("stacking", 8) == 8 * ADAPTER


def test_one_worker_shares_its_model_with_the_server_and_more_have_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = toy.Toy(2, 1.0, toy.Seeds(0)).leaves()
    monkeypatch.setattr(plans, "sizes_of", lambda *given: Sizes(adapter, 8, weights=1000, adapted=10, activations=100))
    one, two = plan(toy.experiment()), plan(toy.experiment("engine.workers=2"))
    client, server = sum(one.client.values()), sum(one.server.values())
    assert one.machine == client + server - 1000 - ADAPTER
    assert two.machine == 2 * client + server


def test_a_method_that_changes_the_base_keeps_the_weights_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = toy.Toy(2, 1.0, toy.Seeds(0)).leaves()
    monkeypatch.setattr(plans, "sizes_of", lambda *given: Sizes(adapter, 8, weights=1000, adapted=10))
    assert "original weights" not in plan(toy.experiment()).client
    assert plan(toy.experiment("method=stacking")).client["original weights"] == 10


def test_an_experiment_that_cannot_run_is_refused() -> None:
    with pytest.raises(FedloomError, match="cannot merge adapters of different rank"):
        plan(toy.experiment(OWN, "adapter.ranks=[1,2]"))
    with pytest.raises(FedloomError, match="there is no 'fp61'"):
        plan(toy.experiment(OWN, 'channel.up=["fp61"]'))
    with pytest.raises(FedloomError, match=r"not a folder, not a Hugging Face id.*nano-vlm"):
        plan(toy.experiment("model.name=nano-vml"))


def test_a_plan_is_plain_json() -> None:
    found = plan(toy.experiment(OWN)).as_json()
    assert json.loads(json.dumps(found)) == found


def test_noise_moves_every_entry_and_differs_between_examples() -> None:
    adapter = toy.Toy(2, 1.0, toy.Seeds(0)).leaves()
    backbone = Noise(adapter, 8)
    one, two = (torch.autograd.grad(backbone.loss([id]).sum(), list(backbone.leaves().values())) for id in ("1", "2"))
    for left, right in zip(one, two, strict=True):
        assert (left != 0).all()
        assert not torch.equal(left, right)
    assert 1 <= backbone.loss(["1"]).item() <= 2


def test_every_client_of_the_stand_in_has_examples_of_its_own() -> None:
    setup = StandIn(quick(toy.experiment()), sizes=Sizes({}, 0))
    ids = [example.id for name in setup.clients for example in setup.training_examples(name)]
    assert len(ids) == len(set(ids)) == 9


def test_tensors_are_counted_wherever_they_are() -> None:
    held = Parcel({"adapter": {"a": torch.zeros(3), "b": torch.zeros(5, device="meta")}}, {"steps": 1})
    assert in_tensors([{"x": held}, (torch.zeros(2, dtype=torch.int8), "text", 7)]) == 4 * 3 + 2


SPLIT = ["adapter.kind=nano", "adapter.where=[]"]


def test_a_client_without_the_language_model_holds_its_part_of_llava() -> None:
    """The paper's adapters are 2 x 2 x 4096 x 64 numbers; tower and connector as ``tests/models/test_meta.py``."""
    sets = ["model.name=llava-hf/llava-1.5-7b-hf", *SPLIT, "adapter.rank=64", "model.dtype=bfloat16"]
    found = plan(toy.experiment(*sets, "split.wire=low-rank"))
    assert found.split is not None
    assert found.split.used
    assert found.parameters["trained"] == 1_048_576
    assert found.split.parameters == {
        "vision tower and connector": 324_487_168,
        "word embeddings": 4096 * 4096,
        "adapter": 1_048_576,
    }
    total = 7_063_427_072
    assert found.split.less["parameters"] == 1 - (324_487_168 + 4096 * 4096 + 1_048_576) / total > 0.95
    assert found.split.less["parameters with all words"] == pytest.approx(0.935, abs=5e-4)
    assert found.split.less["memory"] > 0.95
    assert found.parameters["client"] == 324_487_168 + 32064 * 4096
    assert found.client == found.split.client
    assert found.client["vision tower and connector"] > 2 * 324_487_168  # and the positions of patches
    assert found.split.host["weights"] == pytest.approx(2 * (total - 324_487_168), rel=1e-6)
    assert {each.wire for each in found.split.crossings} == {"full", "low-rank"}
    few = plan(toy.experiment(*sets, "split.wire=full"), vocabulary=100)
    assert few.split is not None
    assert few.split.parameters["word embeddings"] == 100 * 4096
    assert few.client["activations"] >= next(each.memory for each in few.split.crossings if each.wire == "full")


def test_nano_adapters_beside_a_whole_model_are_told_what_a_split_would_change() -> None:
    found = plan(toy.experiment("model.name=nano-vlm", *SPLIT))
    assert found.split is not None
    assert not found.split.used
    assert found.client == found.split.whole
    assert "weights" in found.client
    assert found.parameters["client"] == found.parameters["total"]
    whole = plan(toy.experiment("model.name=nano-vlm", *SPLIT, "split.wire=full", "split.host=there:1"))
    assert whole.split is not None
    assert whole.server["weights"] == sum(
        whole.split.client[part] for part in ("vision tower and connector", "word embeddings")
    )
    assert plan(toy.experiment("model.name=nano-vlm")).split is None


def test_an_adapter_in_a_language_model_that_is_elsewhere_is_refused() -> None:
    with pytest.raises(FedloomError, match="'language' out of"):
        plan(toy.experiment("model.name=nano-vlm", "split.wire=full"))
    found = plan(toy.experiment("model.name=nano-vlm", "split.wire=full", 'adapter.where=["vision"]'))
    assert found.split is not None
    assert [each.wire for each in found.split.crossings] == ["full"]
    with pytest.raises(FedloomError, match="no language model"):
        plan(toy.experiment("model.name=nano-clip", "split.wire=full"))


def test_a_modality_takes_nothing_from_a_plan_and_is_checked_with_it() -> None:
    missing = ["modality=missing", "modality.rate=1"]
    assert plan(toy.experiment(OWN, *missing)).rounds == plan(toy.experiment(OWN)).rounds
    with pytest.raises(FedloomError, match="there is no 'mising'"):
        plan(toy.experiment(OWN, "modality=mising"))
