"""Stacking against dense sums."""

import numpy as np
import torch

from fedloom.core.contracts import Tree
from fedloom.methods.stacking import stacking
from tests.methods.helpers import adapter, client, effect, fold, play, shake, step

SCALE = 0.5
INFOS = [client("0", examples=1, rank=3), client("1", examples=3, rank=2), client("2", examples=4, rank=1)]
WEIGHTS = [0.125, 0.375, 0.5]


def dense(tree: Tree, module: str, factor: float) -> np.ndarray:
    a, b = tree[f"{module}.lora_A.weight"], tree[f"{module}.lora_B.weight"]
    return factor * b.double().numpy() @ a.double().numpy()


def test_by_hand() -> None:
    # scale 2 and two clients alike: the base is 2 * (1/2 [1; 0] [3] + 1/2 [0; 1] [5]) = [3; 5]
    method = stacking()
    start = {"m.lora_A.weight": torch.ones(1, 1), "m.lora_B.weight": torch.zeros(2, 1)}
    state = method.server.init(start, 2.0, 2)
    turns = [
        lambda t: {"m.lora_A.weight": torch.tensor([[3.0]]), "m.lora_B.weight": torch.tensor([[1.0], [0.0]])},
        lambda t: {"m.lora_A.weight": torch.tensor([[5.0]]), "m.lora_B.weight": torch.tensor([[0.0], [1.0]])},
    ]
    state = step(method, state, [(client(str(n), rank=1), turn) for n, turn in enumerate(turns)])
    sent = method.server.send(state, None).trees
    assert torch.allclose(
        sent["base"]["m.lora_B.weight"] @ sent["base"]["m.lora_A.weight"], torch.tensor([[3.0], [5.0]])
    )
    assert sent["adapter"]["m.lora_B.weight"].tolist() == [[0.0], [0.0]]


def test_the_base_is_the_exact_sum_of_all_rounds() -> None:
    method = stacking()
    state = method.server.init(adapter(3, k=40, d=30, zero=True), SCALE, 3)
    expected = np.zeros((30, 40))
    for number in range(3):
        replies = [(play(method, state, info, shake(10 * number + n)), info) for n, info in enumerate(INFOS)]
        state = method.server.step(state, fold(method, state, replies))
        expected += sum(
            p * dense(parcel.trees["adapter"], "m.q", SCALE) for p, (parcel, _) in zip(WEIGHTS, replies, strict=True)
        )
        assert state["base"]["m.q.lora_A.weight"].shape[0] == 6 * (number + 1)  # the ranks add up
        assert np.allclose(dense(state["base"], "m.q", 1.0), expected, atol=1e-4)
        assert np.allclose(effect(method.server.send(state, INFOS[2]), SCALE)["m.q"].numpy(), expected, atol=1e-4)


def test_the_rank_of_the_base_ends_at_the_matrix() -> None:
    method = stacking()
    state = method.server.init(adapter(3, k=6, d=5, zero=True), SCALE, 3)
    expected = np.zeros((5, 6))
    for number in range(3):
        replies = [(play(method, state, info, shake(10 * number + n)), info) for n, info in enumerate(INFOS)]
        state = method.server.step(state, fold(method, state, replies))
        expected += sum(
            p * dense(parcel.trees["adapter"], "m.v", SCALE) for p, (parcel, _) in zip(WEIGHTS, replies, strict=True)
        )
    assert state["base"]["m.v.lora_A.weight"].shape == (5, 6)
    assert np.allclose(dense(state["base"], "m.v", 1.0), expected, atol=1e-4)


def test_clients_begin_afresh_each_round() -> None:
    method, seen = stacking(), []
    start = adapter(3, zero=True)
    state = method.server.init(start, SCALE, 3)
    for _ in range(3):
        sent = method.server.send(state, INFOS[1]).trees["adapter"]
        seen.append(sent["m.q.lora_A.weight"])
        assert sent["m.q.lora_A.weight"].shape == (2, 6)
        assert torch.equal(sent["m.q.lora_B.weight"], torch.zeros(5, 2))
        state = step(method, state, [(info, shake(0)) for info in INFOS])
    assert torch.equal(seen[0], start["m.q.lora_A.weight"][:2])
    assert not torch.equal(seen[1], seen[2])
    assert float(seen[1].abs().max()) <= 6**-0.5  # Kaiming-uniform with a = sqrt(5): bound 1 / sqrt(k)
    assert not torch.equal(state["adapter"]["m.q.lora_A.weight"], state["adapter"]["m.v.lora_A.weight"])
    other = stacking(seed=1)
    assert not torch.equal(
        step(other, other.server.init(start, SCALE, 3), [(INFOS[0], shake(0))])["adapter"]["m.q.lora_A.weight"][:2],
        seen[1],
    )


def test_a_new_a_is_spread_as_peft_spreads_it() -> None:
    method = stacking()
    start = {"m.lora_A.weight": torch.zeros(64, 400), "m.lora_B.weight": torch.zeros(2, 64)}
    state = step(method, method.server.init(start, 1.0, 1), [(client(rank=64), shake(0))])
    fresh = state["adapter"]["m.lora_A.weight"]
    torch.manual_seed(0)
    theirs = torch.nn.init.kaiming_uniform_(torch.empty(64, 400), a=5**0.5)
    assert abs(float(fresh.std() / theirs.std()) - 1) < 0.02
    assert abs(float(fresh.mean())) < 1e-3
    assert abs(float(fresh.abs().max()) - 0.05) < 1e-4


def test_what_is_no_pair_is_averaged() -> None:
    method = stacking()
    state = method.server.init(adapter(3, zero=True), SCALE, 2)
    replies = [(play(method, state, info, shake(n)), info) for n, info in enumerate(INFOS)]
    after = method.server.step(state, fold(method, state, replies))["adapter"]["head.weight"]
    mean = sum(p * parcel.trees["adapter"]["head.weight"] for p, (parcel, _) in zip(WEIGHTS, replies, strict=True))
    assert torch.allclose(after, torch.as_tensor(mean), atol=1e-6)
