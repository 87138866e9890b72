from statistics import NormalDist

import pytest
import torch

from fedloom.channel import pipeline
from fedloom.channel._blocks import Codebook
from fedloom.channel.nf import levels
from fedloom.core.errors import FedloomError

QLORA = [
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
    *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
    *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
    *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
]
"""The 16 values of NF4 as printed in the appendix of QLoRA (arXiv 2305.14314)."""


def test_four_bits_are_those_of_qlora() -> None:
    assert levels(4).tolist() == pytest.approx(QLORA, abs=2e-7)


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_levels_are_quantiles_at_even_steps_of_probability(bits: int) -> None:
    half, outermost = 2 ** (bits - 1), NormalDist().inv_cdf(0.9677083)
    above = [NormalDist().inv_cdf(0.5 + 0.4677083 * step / half) / outermost for step in range(1, half + 1)]
    steps = range(half - 1, 0, -1)
    below = [NormalDist().inv_cdf(0.5 - 0.4677083 * step / (half - 1)) / outermost for step in steps]
    assert levels(bits).tolist() == pytest.approx([*below, 0.0, *above], abs=1e-6)
    assert len(levels(bits)) == 2**bits


def test_each_number_goes_to_the_nearest_level_of_its_block() -> None:
    channel, tree = pipeline(["nf:2,4"]), {"a": torch.tensor([4.0, -1.9, 1.0, 0.1, -0.5, 0.25, 0.0, 0.0])}
    back = channel.decode(channel.encode(tree, tree), tree)["a"]
    third = NormalDist().inv_cdf(0.73385415) / NormalDist().inv_cdf(0.9677083)  # 0.338: levels -1, 0, 0.338, 1
    assert back.tolist() == pytest.approx([4.0, 0.0, 4 * third, 0.0, -0.5, 0.5 * third, 0.0, 0.0], abs=1e-6)


def test_one_bit_is_zero_and_the_largest_eight_to_a_byte() -> None:
    # 2^0 = 1 positive quantile, 2^0 - 1 = 0 negative ones, and zero
    assert levels(1).tolist() == [0.0, 1.0]
    channel, tree = pipeline(["nf:1"]), {"a": torch.tensor([2.0, -2.0, 0.9, 1.1, -1.1, 0.0, -2.0, 2.0, 1.5])}
    sent = channel.encode(tree, tree)
    assert sent["values"].tolist() == [0b10001001, 1]
    assert channel.decode(sent, tree)["a"].tolist() == [2.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 2.0, 2.0]


def test_what_is_negative_is_lost_at_one_bit_as_stated() -> None:
    channel, tree = pipeline(["nf:1"]), {"a": -torch.ones(100)}
    assert not channel.decode(channel.encode(tree, tree), tree)["a"].any()
    assert channel.stages["nf:1"].error == 1.0


def test_three_bits_are_eight_numbers_in_three_bytes() -> None:
    book = Codebook(torch.linspace(-1, 1, 8))
    packed = book.pack(book.levels[[1, 2, 3, 4, 5, 6, 7, 0]])
    assert int.from_bytes(bytes(packed.tolist()), "little") == 0o07654321  # 3 bits each, the first of lowest value
    assert torch.equal(book.unpack(packed, 8, "x"), book.levels[[1, 2, 3, 4, 5, 6, 7, 0]])


@pytest.mark.parametrize(("bits", "bytes_"), [(1, 125), (2, 250), (3, 375), (4, 500)])
@pytest.mark.parametrize("more", range(9))
def test_codes_are_packed_densely_whatever_their_number(bits: int, bytes_: int, more: int) -> None:
    channel, tree = pipeline([f"nf:{bits},10000"]), {"a": torch.randn(1000 + more)}
    sent = channel.encode(tree, tree)
    assert bytes_ <= sent["values"].nbytes <= bytes_ + 6
    known, scale = levels(bits), float(sent["format.scales"])
    nearest = known[(tree["a"][:, None] / scale - known).abs().argmin(1)] * scale
    torch.testing.assert_close(channel.decode(sent, tree)["a"], nearest)


@pytest.mark.parametrize("bits", [0, 5, 8])
def test_other_bits_are_refused_with_those_that_exist(bits: int) -> None:
    with pytest.raises(FedloomError, match=f"bits is {bits}, but there are 1, 2, 3 and 4"):
        pipeline([f"nf:{bits}"])


def test_a_server_may_send_it() -> None:
    assert pipeline(["nf:4"], down=True).stages
