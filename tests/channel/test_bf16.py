import pytest
import torch

from fedloom.channel import pipeline


def test_the_largest_numbers_stay_finite() -> None:
    channel, tree = pipeline(["bf16"]), {"a": torch.tensor([3.4e38, -3.4e38])}
    back = channel.decode(channel.encode(tree, tree), tree)["a"]
    assert back.tolist() == pytest.approx([3.3895e38, -3.3895e38], rel=1e-4)


def test_keeps_eight_bits_and_the_whole_range() -> None:
    channel, tree = pipeline(["bf16"]), {"a": torch.tensor([1 + 2**-8, 1 + 2**-8 + 2**-16, 1e38])}
    sent = channel.encode(tree, tree)
    assert sent["values"].element_size() == 2
    back = channel.decode(sent, tree)["a"]
    assert back[:2].tolist() == [1.0, 1 + 2**-7]
    assert back[2].item() == pytest.approx(1e38, rel=2**-8)
