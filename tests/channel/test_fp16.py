import pytest
import torch

from fedloom.channel import pipeline
from fedloom.core.errors import FedloomError


def test_rounds_to_eleven_bits() -> None:
    # Between 1 and 2 halves are 2^-10 apart: 1 + 2^-11 is a tie and goes to the even neighbour, 1.
    channel = pipeline(["fp16"])
    sent = channel.encode({"a": torch.tensor([1 + 2**-11, 1 + 2**-11 + 2**-20])})
    assert sent["a"].element_size() == 2
    assert channel.decode(sent)["a"].tolist() == [1.0, 1 + 2**-10]


def test_too_large_a_number_is_refused_by_name() -> None:
    with pytest.raises(FedloomError, match=r"lora_A holds 70000, beyond 65504"):
        pipeline(["fp16"]).encode({"lora_A": torch.tensor([7e4])})
