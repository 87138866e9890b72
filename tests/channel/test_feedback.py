"""Error feedback: what is lost in one round is sent in a later one."""

import torch

from fedloom.channel import pipeline
from fedloom.federation.messages import coded_reply


def test_what_was_lost_is_added_to_the_next_change() -> None:
    up, start = pipeline(["feedback", "bf16"]), {"a": torch.tensor([10.0])}
    end = {"adapter": {"a": torch.tensor([11 + 2**-8])}}  # a change of 1 + 2^-8, which bf16 rounds to 1
    sent, memory = coded_reply(end, start, {}, up, 0)
    assert sent.trees["adapter"]["values"].item() == 1.0
    assert memory["a"].item() == 2**-8
    sent, memory = coded_reply(end, start, memory, up, 0)  # 1 + 2^-8 + 2^-8 is a bf16 number
    assert sent.trees["adapter"]["values"].item() == 1 + 2**-7
    assert memory["a"].item() == 0.0
