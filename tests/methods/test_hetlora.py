"""HetLoRA by hand and against dense products."""

import numpy as np
import pytest
import torch

from fedloom.core.errors import FedloomError
from fedloom.methods.hetlora import hetlora
from tests.methods.helpers import Turn, adapter, client, fold, play, shake, step

A, B = "m.lora_A.weight", "m.lora_B.weight"


def ends(a: list[list[float]], b: list[list[float]]) -> Turn:
    return lambda t: {A: torch.tensor(a), B: torch.tensor(b)}


SMALL = client("small", rank=1), ends([[3.0, 0.0]], [[1.0], [0.0]])  # the product's norm is 3
LARGE = client("large", examples=9, rank=2), ends([[1.0, 0.0], [0.0, 1.0]], [[0.0, 0.0], [0.0, 1.0]])  # and 1


def begin() -> dict[str, dict[str, torch.Tensor]]:
    return hetlora().server.init({A: torch.full((2, 2), 7.0), B: torch.full((2, 2), 5.0)}, 1.0, 2)


@pytest.mark.parametrize("turns", [[SMALL, LARGE], [LARGE, SMALL]], ids=["small-first", "large-first"])
def test_by_hand(turns: list) -> None:
    # weights 3/4 and 1/4, whatever the examples; the small one's second row and column are zeros
    method = hetlora()
    state = step(method, begin(), turns)
    assert torch.allclose(state["adapter"][A], torch.tensor([[2.5, 0.0], [0.0, 0.25]]))
    assert torch.allclose(state["adapter"][B], torch.tensor([[0.75, 0.0], [0.0, 0.25]]))
    sent = method.server.send(state, SMALL[0]).trees["adapter"]
    assert torch.allclose(sent[A], torch.tensor([[2.5, 0.0]]))
    assert torch.allclose(sent[B], torch.tensor([[0.75], [0.0]]))


def test_components_that_no_client_has_stay() -> None:
    state = step(hetlora(), begin(), [SMALL])
    assert state["adapter"][A].tolist() == [[3.0, 0.0], [7.0, 7.0]]
    assert state["adapter"][B].tolist() == [[1.0, 5.0], [0.0, 5.0]]


def test_a_norm_is_over_all_modules() -> None:
    method = hetlora()
    clients = [client(str(number), examples=number + 1, rank=rank) for number, rank in enumerate((3, 1, 2))]
    state = method.server.init(adapter(3), 2.0, 3)
    replies = [(play(method, state, info, shake(n)), info) for n, info in enumerate(clients)]
    state = method.server.step(state, fold(method, state, replies))
    trees = [{name: value.double().numpy() for name, value in parcel.trees["adapter"].items()} for parcel, _ in replies]
    norms = [
        np.linalg.norm([tree[f"{m}.lora_B.weight"] @ tree[f"{m}.lora_A.weight"] for m in ("m.q", "m.v")])
        for tree in trees
    ]
    for module in ("m.q", "m.v"):
        want = np.zeros((3, 6))
        for norm, tree in zip(norms, trees, strict=True):
            a = tree[f"{module}.lora_A.weight"]
            want[: len(a)] += norm / sum(norms) * a
        assert np.allclose(state["adapter"][f"{module}.lora_A.weight"].numpy(), want, atol=1e-5)
    heads = [tree["head.weight"] for tree in trees]
    assert np.allclose(state["adapter"]["head.weight"].numpy(), np.average(heads, axis=0, weights=[1, 2, 3]), atol=1e-6)


def test_a_client_without_products_counts_nothing() -> None:
    still = client("still", examples=50, rank=2), ends([[9.0, 9.0], [9.0, 9.0]], [[0.0, 0.0], [0.0, 0.0]])
    alone = step(hetlora(), begin(), [LARGE])["adapter"]
    for turns in ([still, LARGE], [LARGE, still]):
        beside = step(hetlora(), begin(), turns)["adapter"]
        assert torch.equal(beside[A], alone[A])
        assert torch.equal(beside[B], alone[B])


def test_where_no_client_has_products_examples_count() -> None:
    # (1 * 4 + 3 * 8) / 4 = 7
    turns = [(client(str(n), n, rank=1), ends([[value, value]], [[0.0], [0.0]])) for n, value in ((1, 4.0), (3, 8.0))]
    start = {A: torch.ones(1, 2), B: torch.zeros(2, 1)}
    state = step(hetlora(), hetlora().server.init(start, 1.0, 2), turns)
    assert state["adapter"][A].tolist() == [[7.0, 7.0]]
    assert state["adapter"][B].tolist() == [[0.0], [0.0]]


def test_a_rank_above_the_largest_is_refused() -> None:
    with pytest.raises(FedloomError, match=r"asks for rank 3.*set adapter\.rank to the largest"):
        hetlora().server.send(begin(), client(rank=3))
