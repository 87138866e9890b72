"""FedDPA-F by hand, and against dense matrices."""

import pytest
import torch

from fedloom.core.contracts import Parcel, Personal, Tree
from fedloom.core.errors import FedloomError
from fedloom.methods.feddpa_f import feddpa_f
from tests.methods.helpers import adapter, effect

SCALE = 2.0


def personal_of(weight: float) -> Personal:
    found = feddpa_f(weight).local.personal
    assert found is not None
    return found


def one(a: float, b: float, head: float) -> Tree:
    """A LoRA pair of one number each, and a tensor that is none."""
    return {"m.lora_A.weight": torch.tensor([[a]]), "m.lora_B.weight": torch.tensor([[b]]), "h": torch.tensor([head])}


def mixed(weight: float, shared: Parcel, own: Tree | None) -> Tree:
    """What the model that answers does, densely."""
    whole, base = personal_of(weight).model(shared, own, SCALE)
    return effect(Parcel({"adapter": whole, "base": base}), SCALE)


def test_the_mixture_in_numbers() -> None:
    got = mixed(0.25, Parcel({"adapter": one(2.0, 3.0, 4.0)}), one(5.0, 7.0, 8.0))
    assert got["m"].item() == 26.5  # 2 * (0.75 * 3 * 2 + 0.25 * 7 * 5)
    assert got["h"].item() == 5.0  # 0.75 * 4 + 0.25 * 8


@pytest.mark.parametrize("weight", [0.0, 0.3, 0.5, 1.0])
def test_the_mixture_is_that_of_dense_matrices(weight: float) -> None:
    shared = adapter()
    own = {name: value.flip(0) + 1 for name, value in shared.items()}
    base = {f"m.q.lora_{half}.weight": torch.full((2, 6) if half == "A" else (5, 2), 0.5) for half in "AB"}
    got = mixed(weight, Parcel({"adapter": shared, "base": base}), own)
    for module in ("m.q", "m.v"):
        ours, mine = (tree[f"{module}.lora_B.weight"] @ tree[f"{module}.lora_A.weight"] for tree in (shared, own))
        wanted = SCALE * ((1 - weight) * ours + weight * mine) + (0.5 if module == "m.q" else 0.0)  # 2 * 0.5 * 0.5
        torch.testing.assert_close(got[module], wanted)
    wanted = (1 - weight) * shared["head.weight"] + weight * own["head.weight"]
    torch.testing.assert_close(got["head.weight"], wanted)


def test_tuning_begins_at_the_shared_adapter_alone_in_every_turn() -> None:
    shared, own = one(2.0, 3.0, 4.0), one(5.0, 7.0, 8.0)
    for before in (None, own):
        assert personal_of(0.5).begin(Parcel({"adapter": shared}), before, SCALE) == (shared, {})


def test_a_client_that_has_not_tuned_answers_with_the_shared_adapter() -> None:
    shared = one(2.0, 3.0, 4.0)
    assert personal_of(0.5).model(Parcel({"adapter": shared}), None, SCALE) == (shared, {})


@pytest.mark.parametrize("weight", [-0.1, 1.1, float("nan")])
def test_the_weight_must_be_a_share(weight: float) -> None:
    with pytest.raises(FedloomError, match=r"feddpa-f: weight is .*, expected a number from 0 to 1"):
        feddpa_f(weight)


def test_a_matrix_between_the_factors_is_refused() -> None:
    with pytest.raises(FedloomError, match="feddpa-f merges products B A"):
        feddpa_f().server.init(adapter(between=True), SCALE, 2)
