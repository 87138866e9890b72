"""FFA-LoRA by hand."""

import torch

from fedloom.methods.ffa_lora import ffa_lora
from tests.methods.helpers import adapter, client, play, shake, step

A, B = "m.lora_A.weight", "m.lora_B.weight"


def test_b_and_the_head_are_averaged_and_a_stays() -> None:
    # (1 * 2 + 3 * 6) / 4 = 5 and (1 * 8 + 3 * 0) / 4 = 2
    method = ffa_lora()
    state = method.server.init({A: torch.ones(1, 2), B: torch.zeros(2, 1), "head": torch.zeros(1)}, 1.0, 2)
    turns = [lambda t, b=b, h=h: {A: t[A], B: t[B] + b, "head": t["head"] + h} for b, h in ((2.0, 8.0), (6.0, 0.0))]
    after = step(method, state, [(client("0", 1), turns[0]), (client("1", 3), turns[1])])["adapter"]
    assert after[A].tolist() == [[1.0, 1.0]]
    assert after[B].tolist() == [[5.0], [5.0]]
    assert after["head"].tolist() == [2.0]


def test_a_neither_learns_nor_travels() -> None:
    method = ffa_lora()
    state = method.server.init(adapter(), 1.0, 1)
    sent = {"m.q.lora_B.weight", "m.v.lora_B.weight", "head.weight"}
    assert set(play(method, state, client(), shake(0)).trees["adapter"]) == sent
    assert {name for name in adapter() if method.trains(name)} == sent
