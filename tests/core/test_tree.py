"""Tree arithmetic against numbers worked out by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedloom.core import tree
from fedloom.core.errors import FedloomError
from fedloom.core.tree import WeightedSum


def one(*values: float) -> dict[str, torch.Tensor]:
    return {"w": torch.tensor(values)}


def test_add_changes_only_what_is_named() -> None:
    start = {"w": torch.tensor([1.0, 2.0]), "b": torch.tensor(5.0)}
    result = tree.add(start, one(10.0, 20.0), 0.5)
    assert result["w"].tolist() == [6.0, 12.0]
    assert result["b"] is start["b"]
    assert start["w"].tolist() == [1.0, 2.0]


def test_sub_takes_the_names_of_the_left() -> None:
    assert tree.sub(one(5.0, 1.0), one(2.0, 3.0) | {"b": torch.ones(1)})["w"].tolist() == [3.0, -2.0]


def test_squared_norm_is_differentiable() -> None:
    leaf = torch.tensor([3.0, 4.0], requires_grad=True)
    norm = tree.squared_norm({"w": leaf, "b": torch.tensor([[2.0]])})
    norm.backward()
    assert norm.item() == 9 + 16 + 4
    assert leaf.grad is not None
    assert leaf.grad.tolist() == [6.0, 8.0]
    assert tree.squared_norm({}).item() == 0


def test_zeros_like_keeps_shape_and_type() -> None:
    zeros = tree.zeros_like({"w": torch.ones(2, 3, dtype=torch.bfloat16)})["w"]
    assert zeros.dtype == torch.bfloat16
    assert zeros.tolist() == [[0.0] * 3] * 2


def test_select_and_to() -> None:
    both = one(1.0) | {"b": torch.ones(1)}
    assert tree.select(both, lambda name: name == "b").keys() == {"b"}
    assert tree.to(both, one(0.0)).keys() == {"w"}


def test_nbytes() -> None:
    assert tree.nbytes({"w": torch.zeros(3, 4), "h": torch.zeros(5, dtype=torch.float16), "n": torch.tensor(1)}) == 66


@pytest.mark.parametrize(
    ("other", "problem"),
    [
        ({}, "has an unexpected tensor 'w'"),
        (one(1.0, 2.0) | one(1.0, 2.0) | {"b": torch.ones(1)}, "lacks tensor 'b'"),
        (one(1.0), r"'w' is torch.float32 \[2\], expected torch.float32 \[1\]"),
        ({"w": torch.zeros(2, dtype=torch.float64)}, "expected torch.float64"),
    ],
)
def test_check_same_names_what_differs(other: dict[str, torch.Tensor], problem: str) -> None:
    with pytest.raises(FedloomError, match=f"Client 7.*{problem}"):
        tree.check_same(one(1.0, 2.0), other, "Client 7")


def test_fingerprint_sees_names_types_shapes_and_bits_but_no_order() -> None:
    a, b = torch.tensor([0.0, 1.0]), torch.tensor(2)
    assert tree.fingerprint({"a": a, "b": b}) == tree.fingerprint({"b": b, "a": a.clone()})
    others = [{"a": a}, {"c": a, "b": b}, {"a": a.double(), "b": b}, {"a": a[None], "b": b}, {"a": -a, "b": b}]
    assert len({tree.fingerprint(t) for t in [{"a": a, "b": b}, *others]}) == 6
    # the text is the same on every machine: SHA-256 of the name, type and shape, then the bytes of 1.0
    assert tree.fingerprint({"w": torch.ones(1, dtype=torch.bfloat16)}).startswith("61600b2f9736d4df")


def test_weighted_mean_by_hand() -> None:
    total = WeightedSum.of(one(0.0, 8.0), 1).merge(WeightedSum.of(one(4.0, 0.0), 3))
    assert total.mean()["w"].tolist() == [3.0, 2.0]
    assert total.mean()["w"].dtype == torch.float32


@given(
    st.lists(st.integers(1, 100_000), min_size=1, max_size=20),
    st.floats(width=32, allow_nan=False, min_value=-(2.0**100), max_value=2.0**100),
)
def test_the_mean_of_equals_is_exact(weights: list[int], value: float) -> None:
    tensor = torch.tensor([value], dtype=torch.float32)
    total = WeightedSum.of({"w": tensor}, weights[0])
    for weight in weights[1:]:
        total = total.merge(WeightedSum.of({"w": tensor}, weight))
    assert torch.equal(total.mean()["w"], tensor)


@pytest.mark.parametrize("count", [1, 2, 5, 6])
def test_weighted_sum_has_the_bits_of_a_plain_loop_in_float64(count: int) -> None:
    stream = np.random.default_rng(0)
    values = stream.normal(size=(count, 3, 5)).astype(np.float32) * 10.0 ** stream.integers(-9, 9, (count, 3, 5))
    trees = [{"b": torch.tensor(v[0]).bfloat16(), "w": torch.tensor(v, dtype=torch.float32)} for v in values]
    total, by_hand = WeightedSum.of(trees[0], 7), 7 * trees[0]["w"].numpy().astype(np.float64)
    for weight, each in enumerate(trees[1:]):
        total = total.merge(WeightedSum.of(dict(reversed(each.items())), weight))  # names in another order
        by_hand = by_hand + weight * each["w"].numpy().astype(np.float64)
    assert (total.mean()["w"].numpy() == (by_hand / total.weight).astype(np.float32)).all()
    halves = [each["b"].double() * w for each, w in zip(trees, [7, *range(count)], strict=False)]
    assert torch.equal(total.mean()["b"], (sum(halves[1:], halves[0]) / total.weight).bfloat16())


def test_sums_of_several_trees_merge() -> None:
    def of(*pairs: tuple[int, int]) -> WeightedSum:
        total = WeightedSum.of(one(float(pairs[0][0])), pairs[0][1])
        for value, weight in pairs[1:]:
            total.merge(WeightedSum.of(one(float(value)), weight))
        return total

    # (2*1 + 4*2 + 6*3) + (10*1 + 20*1 + 30*2) = 28 + 90, of weight 6 + 4
    assert of((2, 1), (4, 2), (6, 3)).merge(of((10, 1), (20, 1), (30, 2))).mean()["w"].tolist() == pytest.approx([11.8])
    assert of((2, 1)).merge(of((10, 1), (20, 1))).mean()["w"].tolist() == pytest.approx([32 / 3])


def test_weighted_sum_changes_no_tree_and_its_mean_no_later_one() -> None:
    value = torch.ones(2, dtype=torch.float64)
    total = WeightedSum.of({"w": value}, 1)
    early = total.mean()["w"]
    for _ in range(2):
        total.merge(WeightedSum.of({"w": 4 * value}, 1))
    later = total.mean()["w"]
    total.mean()["w"].zero_()
    early.zero_()
    assert value.tolist() == [1.0, 1.0]
    assert later.tolist() == total.mean()["w"].tolist() == [3.0, 3.0]


def test_weighted_sum_holds_a_few_trees_besides_its_sum_however_many_came() -> None:
    total = WeightedSum.of(one(1.0), 1)
    for _ in range(20):
        total.merge(WeightedSum.of(one(1.0), 1))
        assert len(total.waiting) <= 3
        assert total.total.numel() == 1


def test_weighted_sum_refuses_strangers_and_no_weight() -> None:
    with pytest.raises(FedloomError, match="unexpected tensor 'b'"):
        WeightedSum.of(one(1.0), 1).merge(WeightedSum.of({"w": torch.ones(1), "b": torch.ones(1)}, 1))
    with pytest.raises(FedloomError, match=r"expected torch\.float32"):
        WeightedSum.of(one(1.0), 1).merge(WeightedSum.of({"w": torch.ones(1, dtype=torch.float16)}, 1))
    with pytest.raises(FedloomError, match="no weight"):
        WeightedSum.of(one(1.0), 0).mean()
