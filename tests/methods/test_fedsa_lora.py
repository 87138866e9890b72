"""FedSA-LoRA by hand."""

import torch

from fedloom.methods.fedsa_lora import fedsa_lora
from tests.methods.helpers import adapter, client, play, shake, step

A, B = "m.lora_A.weight", "m.lora_B.weight"


def test_a_is_averaged_and_the_rest_stays_with_its_client() -> None:
    # (1 * 2 + 3 * 6) / 4 = 5
    method = fedsa_lora()
    start = {A: torch.zeros(1, 2), B: torch.ones(2, 1), "head": torch.ones(1)}
    turns = [lambda t, v=v: {name: torch.full_like(value, v) for name, value in t.items()} for v in (2.0, 6.0)]
    state = method.server.init(start, 1.0, 2)
    after = step(method, state, [(client("0", 1), turns[0]), (client("1", 3), turns[1])])["adapter"]
    assert after[A].tolist() == [[5.0, 5.0]]
    assert torch.equal(after[B], start[B])
    assert torch.equal(after["head"], start["head"])


def test_everything_learns_and_only_a_travels() -> None:
    method = fedsa_lora()
    state = method.server.init(adapter(), 1.0, 1)
    assert all(method.trains(name) for name in adapter())
    assert set(play(method, state, client(), shake(0)).trees["adapter"]) == {"m.q.lora_A.weight", "m.v.lora_A.weight"}
