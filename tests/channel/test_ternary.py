"""Three levels by hand."""

import pytest
import torch

from fedloom.channel import pipeline
from fedloom.core.errors import FedloomError


def test_three_levels_five_to_a_byte() -> None:
    channel, tree = pipeline(["ternary"]), {"a": torch.tensor([2.0, -2.0, 0.9, 1.1, -1.1, 0.0, -2.0])}
    sent = channel.encode(tree, tree)
    # codes 0, 1, 2 for -1, 0, 1: [2, 0, 1, 2, 0], [1, 0, -, -, -] in base 3, the first of lowest value
    assert sent["values"].tolist() == [2 + 0 * 3 + 1 * 9 + 2 * 27 + 0 * 81, 1]
    assert channel.decode(sent, tree)["a"].tolist() == [2.0, -2.0, 0.0, 2.0, -2.0, 0.0, -2.0]


@pytest.mark.parametrize("entries", [1000, 1003])
def test_its_bytes(entries: int) -> None:
    channel, tree = pipeline(["ternary:100"]), {"a": torch.randn(entries)}
    sent = channel.encode(tree, tree)
    assert sent["values"].nbytes == -(-entries // 5)
    assert sent["format.scales"].nbytes == 2 * -(-entries // 100)


def test_each_block_has_its_scale() -> None:
    channel, tree = pipeline(["ternary:2"]), {"a": torch.tensor([8.0, -3.0, 0.5, -0.5])}
    assert channel.decode(channel.encode(tree, tree), tree)["a"].tolist() == [8.0, 0.0, 0.5, -0.5]


def test_a_server_may_send_it_and_feedback_takes_it() -> None:
    assert pipeline(["ternary"], down=True).stages
    assert pipeline(["feedback", "ternary"]).feeds_back


def test_no_such_block() -> None:
    with pytest.raises(FedloomError, match="ternary: block is 0, expected a whole number from 1"):
        pipeline(["ternary:0"])
