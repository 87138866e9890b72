import pytest
import torch

from fedloom.channel import pipeline
from fedloom.core.errors import FedloomError


def test_two_numbers_share_a_byte() -> None:
    channel, tree = pipeline(["int4:3"]), {"a": torch.tensor([7.0, -3.4, 0.6, -14.0, 5.2])}
    sent = channel.encode(tree, tree)
    # codes from -7 to 7, so 0 to 14: [14, 4], [8, 0], [10, -]; the first of a byte is the digit of lowest value
    assert sent["values"].tolist() == [14 + 15 * 4, 8 + 15 * 0, 10]
    assert sent["format.scales"].tolist() == [7.0, 14.0]
    back = channel.decode(sent, tree)["a"]
    torch.testing.assert_close(back, torch.tensor([7.0, -3.0, 1.0, -14.0, 6.0]))


def test_half_a_byte_a_number_and_two_bytes_a_block() -> None:
    channel, tree = pipeline(["int4"]), {"a": torch.ones(129)}
    assert sum(part.nbytes for part in channel.encode(tree, tree).values()) == 65 + 3 * 2


def test_a_byte_that_no_sender_makes_is_zeros() -> None:
    channel, tree = pipeline(["int4"]), {"a": torch.ones(2)}
    sent = channel.encode(tree, tree) | {"values": torch.tensor([255], dtype=torch.uint8)}
    assert channel.decode(sent, tree)["a"].tolist() == [0.0, 0.0]


def test_a_block_of_nothing_is_refused() -> None:
    with pytest.raises(FedloomError, match="int4: block is -1"):
        pipeline(["int4:-1"])
