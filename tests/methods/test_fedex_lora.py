"""FedEx-LoRA by hand."""

import numpy as np
import torch

from fedloom.methods.fedex_lora import fedex_lora
from tests.methods.helpers import adapter, client, fold, play, shake, step

A, B = "m.lora_A.weight", "m.lora_B.weight"


def test_by_hand() -> None:
    # means A = 2 and B = 3; the mean of the products is (2 * 1 + 4 * 3) / 2 = 7, so 7 - 6 = 1 is missed, 2 when scaled
    method = fedex_lora()
    state = method.server.init({A: torch.ones(1, 1), B: torch.zeros(1, 1)}, 2.0, 2)
    turns = [lambda t, a=a, b=b: {A: torch.tensor([[a]]), B: torch.tensor([[b]])} for a, b in ((1.0, 2.0), (3.0, 4.0))]
    clients = [client(str(number), rank=1) for number in range(2)]
    state = step(method, state, list(zip(clients, turns, strict=True)))
    sent = method.server.send(state, clients[0]).trees
    assert (sent["adapter"][A].item(), sent["adapter"][B].item()) == (2.0, 3.0)
    assert torch.allclose(sent["base"][B] @ sent["base"][A], torch.tensor([[2.0]]))
    assert sent["base"][A].shape == (1, 1)  # of three components


def test_the_base_grows_by_the_clients_ranks_up_to_the_matrix() -> None:
    method = fedex_lora()
    clients = [client(str(number), examples=number + 1) for number in range(3)]
    for k, d, ranks in ((40, 30, [6, 12, 18]), (6, 5, [5, 5, 5])):
        state = method.server.init(adapter(2, k=k, d=d, zero=True), 0.5, 3)
        for number, rank in enumerate(ranks):
            state = step(method, state, [(info, shake(10 * number + n)) for n, info in enumerate(clients)])
            assert state["base"]["m.q.lora_A.weight"].shape == (rank, k)
            assert state["base"]["m.q.lora_B.weight"].shape == (d, rank)


def test_clients_that_learn_the_same_add_nothing_to_the_base() -> None:
    method = fedex_lora()
    state = method.server.init(adapter(), 0.5, 3)
    state = step(method, state, [(client(str(n), examples=n + 1), shake(0)) for n in range(3)])
    for module in ("m.q", "m.v"):
        product = state["base"][f"{module}.lora_B.weight"] @ state["base"][f"{module}.lora_A.weight"]
        assert float(product.abs().max()) < 1e-5


def test_no_matrix_of_the_size_of_the_weight_is_made() -> None:
    method = fedex_lora()
    state = method.server.init({A: torch.ones(1, 200_000), B: torch.zeros(300_000, 1)}, 1.0, 2)  # dense: 240 GB
    state = step(method, state, [(client(str(n), rank=1), shake(n)) for n in range(2)])
    assert state["base"][A].shape == (2, 200_000)


def test_what_is_no_pair_is_averaged() -> None:
    method = fedex_lora()
    state = method.server.init(adapter(), 1.0, 2)
    clients = [client("0", examples=1), client("1", examples=3)]
    replies = [(play(method, state, info, shake(n)), info) for n, info in enumerate(clients)]
    heads = [parcel.trees["adapter"]["head.weight"].numpy() for parcel, _ in replies]
    after = method.server.step(state, fold(method, state, replies))["adapter"]["head.weight"].numpy()
    assert np.allclose(after, 0.25 * heads[0] + 0.75 * heads[1], atol=1e-6)
