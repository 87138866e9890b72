"""Named streams: the same name, the same numbers, on every machine."""

import torch

from fedloom.core.seeds import Seeds


def test_a_stream_is_pinned() -> None:
    # SHA-256 of "0/cohort", its first 8 bytes little-endian, halved: sha256sum and a calculator say the same
    assert Seeds(0).number("cohort") == 3306995600134640654


def test_streams_do_not_depend_on_order() -> None:
    seeds = Seeds(3)
    first = seeds.numpy("a").random(4).tolist()
    seeds.numpy("b").random(100)
    assert seeds.numpy("a").random(4).tolist() == first
    assert torch.equal(torch.rand(3, generator=seeds.torch("a")), torch.rand(3, generator=Seeds(3).torch("a")))


def test_names_and_seeds_give_other_streams() -> None:
    numbers = {Seeds(seed).number(f"round/{t}") for seed in range(10) for t in range(10)}
    assert len(numbers) == 100
    assert all(0 <= number < 2**63 for number in numbers)
