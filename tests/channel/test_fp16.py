import pytest
import torch

from fedloom.channel import pipeline


def test_rounds_to_the_nearest_half() -> None:
    channel, tree = pipeline(["fp16"]), {"a": torch.tensor([1 + 2**-11, 1 + 2**-11 + 2**-20])}
    sent = channel.encode(tree, tree)
    assert sent["values"].dtype == torch.float16
    assert channel.decode(sent, tree)["a"].tolist() == [1.0, 1 + 2**-10]  # a tie goes to the even one


@pytest.mark.parametrize("largest", [3e38, 7e4, 1e-7, 1e-40])
def test_any_range_of_float32_fits(largest: float) -> None:
    channel, tree = pipeline(["fp16"]), {"a": torch.tensor([largest, -largest / 3])}
    back = channel.decode(channel.encode(tree, tree), tree)["a"]
    assert back.tolist() == pytest.approx(tree["a"].tolist(), rel=2**-11)
