"""Fed-SB by hand."""

import pytest
import torch

from fedloom.core.errors import FedloomError
from fedloom.methods.fed_sb import fed_sb
from tests.methods.helpers import adapter, client, play, shake, step

A, B, R = "m.lora_A.weight", "m.lora_B.weight", "m.lora_R.weight"


def test_r_and_the_head_are_averaged_and_the_pair_stays() -> None:
    # (1 * 2 + 3 * 6) / 4 = 5 and (1 * 8 + 3 * 0) / 4 = 2
    method = fed_sb()
    start = {A: torch.ones(1, 2), B: torch.ones(3, 1), R: torch.zeros(1, 1), "head": torch.zeros(1)}
    turns = [lambda t, r=r, h=h: t | {R: t[R] + r, "head": t["head"] + h} for r, h in ((2.0, 8.0), (6.0, 0.0))]
    state = method.server.init(start, 1.0, 2)
    after = step(method, state, [(client("0", 1), turns[0]), (client("1", 3), turns[1])])["adapter"]
    assert after[R].tolist() == [[5.0]]
    assert after["head"].tolist() == [2.0]
    assert torch.equal(after[A], start[A])
    assert torch.equal(after[B], start[B])


def test_the_pair_neither_learns_nor_travels() -> None:
    method, start = fed_sb(), adapter(between=True)
    state = method.server.init(start, 1.0, 1)
    sent = {"m.q.lora_R.weight", "m.v.lora_R.weight", "head.weight"}
    assert set(play(method, state, client(), shake(0)).trees["adapter"]) == sent
    assert {name for name in start if method.trains(name)} == sent


def test_an_adapter_without_r_is_refused() -> None:
    with pytest.raises(FedloomError, match=r"fed-sb needs adapter\.kind = 'lora-sb'"):
        fed_sb().server.init(adapter(), 1.0, 1)
