"""LoRA pairs against dense products and an independent SVD (NumPy's)."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedloom.core import lora
from fedloom.core.errors import FedloomError


def pair(rank: int, k: int, d: int, seed: int = 0) -> lora.Pair:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(rank, k, generator=rng), torch.randn(d, rank, generator=rng)


def best(a: torch.Tensor, b: torch.Tensor, rank: int) -> np.ndarray:
    """The truncated product, by NumPy's SVD of the dense matrix."""
    u, s, vt = np.linalg.svd(b.double().numpy() @ a.double().numpy(), full_matrices=False)
    return (u[:, :rank] * s[:rank]) @ vt[:rank]


def test_pairs_and_back() -> None:
    a, b = pair(2, 3, 4)
    adapter = {"m.q.lora_B.weight": b, "m.q.lora_A.weight": a, "head.weight": torch.ones(1)}
    found = lora.pairs(adapter)
    assert list(found) == ["m.q"]
    assert found["m.q"][0] is a
    assert found["m.q"][1] is b
    assert lora.tree(found) == {"m.q.lora_A.weight": a, "m.q.lora_B.weight": b}
    assert not lora.is_pair("head.weight")


def test_pairs_refuses_a_half_and_a_misfit() -> None:
    a, b = pair(2, 3, 4)
    with pytest.raises(FedloomError, match=r"m\.lora_B\.weight' is missing"):
        lora.pairs({"m.lora_A.weight": a})
    with pytest.raises(FedloomError, match=r"A \[1, 3\] and B \[4, 2\]"):
        lora.pairs({"m.lora_A.weight": a[:1], "m.lora_B.weight": b})


def test_stack_by_hand() -> None:
    # 0.25 * [2; 0] [1 1]  +  0.75 * [0; 4] [1 0]  =  [[0.5, 0.5], [3, 0]]
    one = (0.25, torch.tensor([[1.0, 1.0]]), torch.tensor([[2.0], [0.0]]))
    two = (0.75, torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0], [4.0]]))
    a, b = lora.stack([one, two])
    assert a.tolist() == [[0.25, 0.25], [0.75, 0.0]]
    assert b.tolist() == [[2.0, 0.0], [0.0, 4.0]]
    assert (b @ a).tolist() == [[0.5, 0.5], [3.0, 0.0]]


def test_product_svd_by_hand() -> None:
    # B A = diag(9, 4, 0): singular values 9 and 4, so the factors are diagonal with 3 and 2
    a = torch.tensor([[0.0, 1.0, 0.0], [-3.0, 0.0, 0.0]])
    b = torch.tensor([[0.0, -3.0], [4.0, 0.0], [0.0, 0.0]])
    first, second = lora.product_svd(a, b, 2)
    assert torch.allclose(first, torch.tensor([[3.0, 0.0, 0.0], [0.0, 2.0, 0.0]]), atol=1e-6)
    assert torch.allclose(second, torch.tensor([[3.0, 0.0], [0.0, 2.0], [0.0, 0.0]]), atol=1e-6)
    first, second = lora.product_svd(a, b, 1)
    assert torch.allclose(second @ first, torch.diag(torch.tensor([9.0, 0.0, 0.0])), atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(1, 7), st.integers(1, 7), st.integers(1, 9), st.integers(0, 1000))
def test_product_svd_is_the_best_of_its_rank(stacked: int, k: int, d: int, rank: int, seed: int) -> None:
    a, b = pair(stacked, k, d, seed)
    first, second = lora.product_svd(a, b, rank)
    assert first.shape[0] == second.shape[1] == min(rank, stacked, k, d)
    assert np.allclose((second @ first).double().numpy(), best(a, b, rank), atol=1e-4)
    assert torch.allclose(first.square().sum(1), second.square().sum(0), rtol=1e-4)  # sqrt(S) on both
    assert bool((first.gather(1, first.abs().argmax(1, keepdim=True)) > 0).all())
    fewer = lora.product_svd(a, b, 1)
    assert torch.equal(fewer[0], first[:1])  # a smaller rank is the beginning of a larger one


def test_product_svd_makes_no_dense_matrix() -> None:
    first, second = lora.product_svd(*pair(3, 200_000, 300_000), 2)  # dense: 480 GB
    assert first.shape == (2, 200_000)
    assert second.shape == (300_000, 2)


def test_product_svd_leaves_zeros_out() -> None:
    a, b = pair(2, 5, 6)
    first, _ = lora.product_svd(torch.cat([a, a, a]), torch.cat([b, b, b], dim=1), 4)
    assert first.shape[0] == 2
    first, second = lora.product_svd(a, torch.zeros_like(b), 2)
    assert first.shape == (0, 5)
    assert second.shape == (6, 0)


def test_compress_is_exact_and_only_where_needed() -> None:
    a, b = pair(4, 5, 4)
    assert lora.compress(a, b) == (a, b)
    a, b = pair(40, 5, 4)
    first, second = lora.compress(a, b)
    assert first.shape[0] == 4
    assert torch.allclose(second @ first, b @ a, atol=1e-4)


def test_truncate() -> None:
    a, b = pair(3, 4, 5)
    adapter = {"m.lora_A.weight": a, "m.lora_B.weight": b, "head.weight": torch.ones(2)}
    cut = lora.truncate(adapter, 2)
    assert torch.equal(cut["m.lora_A.weight"], a[:2])
    assert torch.equal(cut["m.lora_B.weight"], b[:, :2])
    assert cut["head.weight"] is adapter["head.weight"]
    for rank in (0, 4):
        with pytest.raises(FedloomError, match=f"'m' has rank 3, a client asks for rank {rank}"):
            lora.truncate(adapter, rank)


def test_squared_norm_is_that_of_the_dense_product() -> None:
    a, b = pair(3, 7, 5)
    want = np.linalg.norm(b.double().numpy() @ a.double().numpy()) ** 2
    assert abs(lora.squared_norm(a, b) / want - 1) < 1e-12
    # [1; 1] [3 4] has the entries 3, 4, 3, 4: 50
    assert lora.squared_norm(torch.tensor([[3.0, 4.0]]), torch.ones(2, 1)) == 50.0
    cancels = torch.cat([a, a]), torch.cat([b, -b], dim=1)
    assert 0.0 <= lora.squared_norm(*cancels) < 1e-10


def test_pad_adds_zeros_and_nothing_else() -> None:
    a, b = pair(1, 2, 3)
    adapter = {"m.lora_A.weight": a, "m.lora_B.weight": b, "head.weight": torch.ones(2)}
    padded = lora.pad(adapter, 3)
    assert torch.equal(padded["m.lora_A.weight"], torch.cat([a, torch.zeros(2, 2)]))
    assert torch.equal(padded["m.lora_B.weight"], torch.cat([b, torch.zeros(3, 2)], dim=1))
    assert padded["head.weight"] is adapter["head.weight"]
    assert lora.pad(adapter, 1)["m.lora_A.weight"] is a


def test_trees_of_two_ranks_are_levelled() -> None:
    one = {"m" + lora.A: torch.ones(1, 2), "m" + lora.B: torch.ones(3, 1), "head": torch.ones(2)}
    other = {"m" + lora.A: torch.ones(2, 2), "m" + lora.B: torch.ones(3, 2), "more": torch.ones(1)}
    left, right = lora.level(one, other)
    assert left["m" + lora.A].tolist() == [[1.0, 1.0], [0.0, 0.0]]
    assert left["m" + lora.B].tolist() == [[1.0, 0.0]] * 3
    assert torch.equal(right["m" + lora.A], other["m" + lora.A])
    assert (left.keys(), right.keys()) == (one.keys(), other.keys())
    half, whole = lora.level({"m" + lora.A: torch.ones(1, 2)}, {"m" + lora.A: torch.ones(2, 2)})  # B stays at home
    assert half["m" + lora.A].shape == whole["m" + lora.A].shape == (2, 2)
    booleans, _ = lora.level({"m" + lora.A: torch.ones(1, 2) > 0}, {"m" + lora.A: torch.ones(2, 2) > 0})
    assert booleans["m" + lora.A].tolist() == [[True, True], [False, False]]


def test_a_mean_of_fewer_components_leaves_the_others_of_the_adapter() -> None:
    adapter = {"m" + lora.A: torch.tensor([[1.0], [2.0]]), "m" + lora.B: torch.tensor([[3.0, 4.0]])}
    mean = {"m" + lora.A: torch.tensor([[9.0]]).double(), "m" + lora.B: torch.tensor([[8.0]]).double()}
    filled = lora.over(adapter, mean)
    assert filled["m" + lora.A].tolist() == [[9.0], [2.0]]
    assert filled["m" + lora.B].tolist() == [[8.0, 4.0]]
    assert filled["m" + lora.A].dtype == torch.float32
