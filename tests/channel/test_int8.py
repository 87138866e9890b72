import pytest
import torch

from fedloom.channel import pipeline
from fedloom.channel.int8 import int8
from fedloom.core.errors import FedloomError


def test_rounds_each_block_to_127ths_of_its_largest_magnitude() -> None:
    channel, tree = pipeline(["int8:4"]), {"a": torch.tensor([127.0, -63.4, 0.6, 0.0, 2.0, -254.0])}
    sent = channel.encode(tree, tree)
    assert sent["values"].tolist() == [127, -63, 1, 0, 1, -127]
    assert sent["format.scales"].tolist() == [127.0, 254.0]
    assert channel.decode(sent, tree)["a"].tolist() == [127.0, -63.0, 1.0, 0.0, 2.0, -254.0]


def test_a_scale_is_rounded_up_so_that_no_code_leaves_the_range() -> None:
    channel, tree = pipeline(["int8"]), {"a": torch.tensor([1 + 2**-20, -1 - 2**-20, 0.5])}
    sent = channel.encode(tree, tree)
    assert sent["format.scales"].tolist() == [1 + 2**-7]  # the next bfloat16; the nearest is 1
    assert sent["values"].tolist() == [126, -126, 63]  # 127 / (1 + 2^-7) = 126.02, half of it 63.01


def test_one_byte_a_number_and_two_a_block() -> None:
    channel, tree = pipeline(["int8"]), {"a": torch.ones(257)}
    assert sum(part.nbytes for part in channel.encode(tree, tree).values()) == 257 + 2 * 2


@pytest.mark.parametrize("largest", [3.4e38, 1e-37])
def test_the_ends_of_float32_stay_finite(largest: float) -> None:
    channel, tree = pipeline(["int8"]), {"a": torch.tensor([largest, -largest, largest / 3])}
    back = channel.decode(channel.encode(tree, tree), tree)["a"]
    assert back.tolist() == pytest.approx(tree["a"].tolist(), rel=0.02)


def test_the_stated_error_is_nearly_reached_by_the_worst_block() -> None:
    stage, entries = int8(256), torch.full((256,), 0.499999 / 127)
    entries[0] = 1.0
    coded = stage.encode(entries, ((256,),), 0)
    off = (stage.decode(coded, ((256,),)) - entries).norm() / entries.norm()
    assert 0.98 * stage.error < off < stage.error  # sqrt(255) / 254 = 0.0629


def test_a_block_of_nothing_is_refused() -> None:
    with pytest.raises(FedloomError, match="int8: block is 0, expected a whole number from 1"):
        pipeline(["int8:0"])
