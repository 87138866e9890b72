"""FRLoRA by hand."""

from typing import Any

import numpy as np
import pytest
import torch

from fedloom.core.errors import FedloomError
from fedloom.methods.frlora import frlora
from tests.methods.helpers import Turn, adapter, client, shake, step

A, B = "m.lora_A.weight", "m.lora_B.weight"
CLIENTS = [client("0", rank=1), client("1", rank=1)]


def turns() -> list[Turn]:
    ends = [(3.0, 1.0, 4.0), (1.0, 3.0, 8.0)]
    return [
        lambda t, a=a, b=b, h=h: {A: torch.tensor([[a]]), B: torch.tensor([[b]]), "head": torch.tensor([h])}
        for a, b, h in ends
    ]


@pytest.mark.parametrize(("average", "first"), [("products", 2.0), ("factors", 4.0)])
def test_by_hand(average: str, first: float) -> None:
    # the start's product is 2. Mean of the products: 3, so 2 * (3 - 2) = 2. Product of the means: 4, so 2 * (4 - 2) = 4
    method = frlora(average)
    start = {A: torch.tensor([[2.0]]), B: torch.tensor([[1.0]]), "head": torch.zeros(1)}
    state = method.server.init(start, 2.0, 2)
    for number in (1, 2):  # the second round begins again from the start, on the changed base
        state = step(method, state, list(zip(CLIENTS, turns(), strict=True)))
        for info in (CLIENTS[0], None):
            sent = method.server.send(state, info).trees
            assert torch.equal(sent["adapter"][A], start[A])
            assert torch.equal(sent["adapter"][B], start[B])
            assert sent["adapter"]["head"].tolist() == [6.0]
            assert torch.allclose(sent["base"][B] @ sent["base"][A], torch.tensor([[number * first]]))


# A and B end at (3, 1) and (1, 3); the start's product is 2, the scale 2. By examples 1 : 3, mean(A) 1.5, mean(B) 2.5.
@pytest.mark.parametrize(
    ("average", "weighting", "moved"),
    [
        ("factors", "examples", 2 * (3.75 - 2)),
        ("factors", "uniform", 2 * (4.0 - 2)),
        ("products", "examples", 2 * (3.0 - 2)),
    ],
)
def test_weights(average: Any, weighting: Any, moved: float) -> None:
    method = frlora(average, weighting)
    start = {A: torch.tensor([[2.0]]), B: torch.tensor([[1.0]]), "head": torch.zeros(1)}
    infos = [client("0", 1, rank=1), client("1", 3, rank=1)]
    state = step(method, method.server.init(start, 2.0, 2), list(zip(infos, turns(), strict=True)))
    assert (state["base"][B] @ state["base"][A]).item() == pytest.approx(moved)
    assert state["adapter"]["head"].item() == (7.0 if weighting == "examples" else 6.0)


@pytest.mark.parametrize("average", ["factors", "products"])
def test_three_rounds_with_another_cohort_in_each(average: Any) -> None:
    method, scale, whole = frlora(average), 0.5, np.zeros((5, 6))
    start = {name: value.double() for name, value in adapter().items()}
    state = method.server.init(start, scale, 4)
    first = start["m.q.lora_B.weight"].numpy() @ start["m.q.lora_A.weight"].numpy()
    for number, cohort in enumerate([(0, 1, 2), (1, 3), (0, 3)]):
        moves = {k: shake(10 * number + k) for k in cohort}
        ends = {k: {n: v.numpy() for n, v in shake(10 * number + k)(start).items()} for k in cohort}
        state = step(method, state, [(client(str(k), k + 1), move) for k, move in moves.items()])
        shares = {k: (k + 1) / sum(other + 1 for other in cohort) for k in cohort}
        if average == "factors":
            a, b = (sum(shares[k] * ends[k][f"m.q.lora_{half}.weight"] for k in cohort) for half in "AB")
            whole = whole + scale * (b @ a - first)
        else:
            products = (shares[k] * ends[k]["m.q.lora_B.weight"] @ ends[k]["m.q.lora_A.weight"] for k in cohort)
            whole = whole + scale * (sum(products) - first)
        got = state["base"]["m.q.lora_B.weight"] @ state["base"]["m.q.lora_A.weight"]
        np.testing.assert_allclose(got.numpy(), whole, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("average", "ranks"), [("products", [8, 16, 24]), ("factors", [4, 8, 12])])
def test_the_base_grows_up_to_the_matrix(average: str, ranks: list[int]) -> None:
    method = frlora(average)
    clients = [client(str(number)) for number in range(3)]
    for k, d, limit in ((40, 30, 30), (6, 5, 5)):
        state = method.server.init(adapter(2, k=k, d=d), 0.5, 3)
        for number, rank in enumerate(ranks):
            state = step(method, state, [(info, shake(10 * number + n)) for n, info in enumerate(clients)])
            assert state["base"]["m.q.lora_A.weight"].shape == (min(rank, limit), k)


def test_only_the_mean_of_factors_keeps_the_servers_memory() -> None:
    assert frlora().reduce.additive
    assert not frlora("products").reduce.additive


def test_an_unknown_average_is_refused() -> None:
    with pytest.raises(FedloomError, match="expected products or factors"):
        frlora("mean")
