import torch

from fedloom.channel import pipeline


def test_rounds_to_eight_bits_and_keeps_the_range() -> None:
    # Between 1 and 2 bfloat16 numbers are 2^-7 apart: 1 + 2^-8 is a tie and goes to the even neighbour, 1.
    channel = pipeline(["bf16"])
    sent = channel.encode({"a": torch.tensor([1 + 2**-8, 1 + 2**-8 + 2**-16, 1e38])})
    assert sent["a"].element_size() == 2
    back = channel.decode(sent)["a"]
    assert back[:2].tolist() == [1.0, 1 + 2**-7]
    assert abs(back[2].item() - 1e38) <= 2**-8 * 1e38
