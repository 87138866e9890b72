import math

import pytest
import torch

from fedloom.channel import pipeline
from fedloom.channel._indices import BITMAP
from fedloom.core import wire
from fedloom.core.contracts import Parcel
from fedloom.core.errors import FedloomError

TREE = {"a": torch.tensor([[1.0, -9.0], [7.0, 0.0]]), "b": torch.tensor([0.1, -0.3, 8.0, 0.2])}


def back(stage: str, tree: dict[str, torch.Tensor] = TREE) -> dict[str, list[float]]:
    channel = pipeline([stage])
    decoded = channel.decode(channel.encode(tree, tree, change=True), tree, change=True)
    return {name: value.reshape(-1).tolist() for name, value in decoded.items()}


def test_the_largest_of_each_tensor_travel() -> None:
    kept = back("topk:0.5")
    assert kept["a"] == [0.0, -9.0, 7.0, 0.0]
    assert kept["b"] == pytest.approx([0.0, -0.3, 8.0, 0.0])
    sent = pipeline(["topk:0.5"]).encode(TREE, TREE, change=True)
    assert sent["values"].tolist() == pytest.approx([-9.0, 7.0, -0.3, 8.0])
    assert sent["mask.indices"].tolist() == [BITMAP, 0b01100110]


def test_or_the_largest_of_all() -> None:
    assert back("topk:0.375,global") == {"a": [0.0, -9.0, 7.0, 0.0], "b": [0.0, 0.0, 8.0, 0.0]}


def test_among_equals_the_first_travel() -> None:
    tree = {"a": torch.tensor([1.0, 2.0, -1.0, 1.0, -1.0]), "z": torch.zeros(4)}
    assert back("topk:0.6", tree)["a"] == [1.0, 2.0, -1.0, 0.0, 0.0]
    sent = pipeline(["topk:0.5"]).encode({"z": torch.zeros(4)}, {"z": torch.zeros(4)}, change=True)
    assert sent["mask.indices"].tolist() == [BITMAP, 0b11000000]


def test_the_share_is_checked() -> None:
    for gamma in ("0", "-0.1", "1.01", "nan"):
        with pytest.raises(FedloomError, match="topk: gamma is"):
            pipeline([f"topk:{gamma}"])
    assert back("topk:1")["a"] == TREE["a"].reshape(-1).tolist()


def test_an_error_no_larger_than_stated_where_all_entries_are_alike() -> None:
    (stage,) = pipeline(["topk:0.25"]).stages.values()
    assert stage.error == pytest.approx(math.sqrt(0.75))  # 3 of 4 equal entries are lost
    lost = torch.ones(40) - stage.decode(stage.encode(torch.ones(40), ((40,),), 0), ((40,),))
    assert lost.norm() / math.sqrt(40) == pytest.approx(stage.error)


@pytest.mark.parametrize(("stages", "value_bytes"), [(["topk:0.01"], 4), (["topk:0.01", "int8"], 1)])
@pytest.mark.parametrize("scope", ["layer", "global"])
def test_a_message_is_near_its_information(stages: list[str], value_bytes: int, scope: str) -> None:
    rng = torch.Generator().manual_seed(0)
    tree = {f"{i}": torch.randn(16, 10_000, generator=rng) * 2**i for i in range(3)}
    channel = pipeline([f"{stages[0]},{scope}", *stages[1:]])
    sent = wire.pack(Parcel({"adapter": channel.encode(tree, tree, change=True)}))
    sizes = [480_000] if scope == "global" else [160_000] * 3
    bits = sum(math.log2(math.comb(size, size // 100)) for size in sizes)
    assert len(sent) < 1.1 * (bits / 8 + sum(sizes) // 100 * value_bytes)


def test_indices_of_another_group_are_refused() -> None:
    channel = pipeline(["topk:0.5"])
    sent = channel.encode(TREE, TREE, change=True)
    sent["mask.indices"] = torch.tensor(
        [BITMAP, 0b11100100], dtype=torch.uint8
    )  # three of the first, one of the second
    with pytest.raises(FedloomError, match=r"not the share 0.5 of each group \(layer\)"):
        channel.decode(sent, TREE, change=True)


def test_another_share_at_the_receiver_is_refused() -> None:
    sent = pipeline(["topk:0.5"]).encode(TREE, TREE, change=True)
    with pytest.raises(FedloomError, match="Both sides need the same channel"):
        pipeline(["topk:0.25"]).decode(sent, TREE, change=True)
