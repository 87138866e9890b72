from collections import Counter
from math import comb

import numpy as np
import pytest
import torch

from fedloom.channel import pipeline
from fedloom.channel.random_mask import _draw
from fedloom.core.errors import FedloomError

TREE = {"a": torch.arange(1.0, 41).reshape(4, 10), "b": torch.full((10,), 50.0)}


def kept(stage: str, seed: int) -> dict[str, torch.Tensor]:
    channel = pipeline([stage])
    return channel.decode(channel.encode(TREE, TREE, change=True, seed=seed), TREE, change=True)


def test_entries_that_travel_are_as_they_were_and_the_rest_is_zero() -> None:
    back = kept("random-mask:0.3", 5)
    assert [int((back[name] != 0).sum()) for name in "ab"] == [12, 3]
    assert torch.equal(back["a"], torch.where(back["a"] != 0, TREE["a"], 0))
    assert sum(int((value != 0).sum()) for value in kept("random-mask:0.3,global", 5).values()) == 15


def test_only_the_seed_travels_besides() -> None:
    sent = pipeline(["random-mask:0.3"]).encode(TREE, TREE, change=True, seed=2**63 - 1)
    assert sent.keys() == {"values", "mask.seed"}
    assert sent["mask.seed"].tolist() == [2**63 - 1]
    assert sent["values"].shape == (15,)


def test_the_draw_written_otherwise() -> None:
    raw, chosen = iter(np.random.PCG64(3).random_raw(10**4).tolist()), set()
    while len(chosen) < 30:  # one after the other: the first 30 different ones
        chosen.add((next(raw) >> 12) * 100 >> 52)
    assert _draw([(100, 30)], 3).tolist() == sorted(chosen)
    assert _draw([(100, 70)], 3).tolist() == sorted(set(range(100)) - chosen)  # drawn is what is left out


def test_other_seeds_draw_other_entries() -> None:
    assert not torch.equal(kept("random-mask:0.3", 5)["a"], kept("random-mask:0.3", 6)["a"])


@pytest.mark.parametrize("keep", [2, 4])
def test_every_choice_is_as_likely(keep: int) -> None:
    draws = Counter(tuple(_draw([(6, keep)], seed).tolist()) for seed in range(3000))
    assert len(draws) == comb(6, keep)
    assert all(abs(count - 200) < 5 * 200**0.5 for count in draws.values())


@pytest.mark.parametrize("keep", [0, 1, 499, 500, 501, 999, 1000])
def test_as_many_as_asked_for_all_different(keep: int) -> None:
    drawn = _draw([(7, 0), (1000, keep), (3, 3)], 1).tolist()
    assert drawn == sorted(set(drawn))
    assert sum(7 <= place < 1007 for place in drawn) == keep
    assert drawn[keep:] == [1007, 1008, 1009]


def test_a_seed_below_zero_is_refused() -> None:
    channel = pipeline(["random-mask"])
    sent = channel.encode(TREE, TREE, change=True) | {"mask.seed": torch.tensor([-1])}
    with pytest.raises(FedloomError, match="the seed of 'random-mask' is -1"):
        channel.decode(sent, TREE, change=True)


def test_the_share_is_checked() -> None:
    with pytest.raises(FedloomError, match="random-mask: gamma is 2"):
        pipeline(["random-mask:2"])
