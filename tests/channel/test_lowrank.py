import numpy as np
import pytest
import torch

from fedloom.channel import pipeline
from fedloom.channel._stage import Coded
from fedloom.channel.lowrank import lowrank
from fedloom.core.errors import FedloomError


def test_the_nearest_product_of_that_rank() -> None:
    matrix = np.random.default_rng(0).standard_normal((9, 14)).astype(np.float32)
    channel, tree = pipeline(["lowrank:2"]), {"a": torch.from_numpy(matrix)}
    sent = channel.encode(tree, tree, change=True)
    assert sent["values"].shape == (2 * (9 + 14),)
    back = channel.decode(sent, tree, change=True)["a"].numpy()
    # Eckart and Young, by eigenvectors of M M^T instead of an SVD: the projection on the leading two
    _, vectors = np.linalg.eigh(matrix.astype(np.float64) @ matrix.T.astype(np.float64))
    lead = vectors[:, -2:]
    np.testing.assert_allclose(back, lead @ lead.T @ matrix, atol=1e-5)


def test_a_matrix_of_that_rank_comes_back_as_it_was_by_hand() -> None:
    tree = {"a": torch.outer(torch.tensor([3.0, 0.0, 4.0]), torch.tensor([0.0, 2.0, 0.0, 0.0]))}
    channel = pipeline(["lowrank:1"])
    sent = channel.encode(tree, tree, change=True)
    # one singular value, 5 * 2 = 10: U sqrt(S) = sqrt(10) [.6, 0, .8], sqrt(S) V^T = sqrt(10) [0, 1, 0, 0], up to sign
    values = sent["values"] * sent["values"][0].sign()
    root = 10**0.5
    torch.testing.assert_close(values, torch.tensor([0.6 * root, 0, 0.8 * root, 0, root, 0, 0]))
    torch.testing.assert_close(channel.decode(sent, tree, change=True)["a"], tree["a"])


def test_what_is_no_matrix_or_would_not_shrink_passes_as_it_is() -> None:
    shapes = ((8, 8), (3, 3), (5,), (2, 8, 8), (1, 90), (0, 4), (4, 4))
    stage = lowrank(2)
    assert stage.shapes(shapes) == ((8, 2), (2, 8), *shapes[1:])  # 2 (4 + 4) = 4 x 4: nothing to gain
    values = torch.arange(1.0, 1 + 64 + 9 + 5 + 128 + 90 + 16)
    assert torch.equal(stage.decode(stage.encode(values, shapes, 0), shapes)[64:], values[64:])


def test_the_worst_matrix_keeps_its_share() -> None:
    stage, shapes = lowrank(2), ((6, 6),)
    lost = torch.eye(6).reshape(-1) - stage.decode(stage.encode(torch.eye(6).reshape(-1), shapes, 0), shapes)
    assert float(lost.norm() ** 2 / 6) == pytest.approx(1 - 2 / 6, rel=1e-5)


def test_a_mask_may_follow_and_sees_the_factors() -> None:
    stage = pipeline(["lowrank:1", "topk:0.5", "int8"])
    tree = {"a": torch.outer(torch.tensor([8.0, 0.0, 0.0, 0.0]), torch.tensor([0.0, 2.0, 0.0, 0.0]))}
    sent = stage.encode(tree, tree, change=True)
    assert sent["values"].shape == (4,)  # two of each factor's four
    torch.testing.assert_close(stage.decode(sent, tree, change=True)["a"], tree["a"], atol=0.3, rtol=0)


def test_another_rank_at_the_receiver_is_refused() -> None:
    shapes = ((8, 8),)
    with pytest.raises(FedloomError, match=r"the values of 'lowrank' is torch.float32 \[32\]"):
        lowrank(3).decode(Coded(lowrank(2).encode(torch.ones(64), shapes, 0).values), shapes)


def test_a_rank_of_nothing_is_refused() -> None:
    with pytest.raises(FedloomError, match="lowrank: rank is 0"):
        pipeline(["lowrank:0"])
