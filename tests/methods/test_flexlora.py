"""FlexLoRA against dense products and an independent SVD (NumPy's)."""

import numpy as np
import pytest
import torch

from fedloom.core.contracts import Parcel, Tree
from fedloom.core.errors import FedloomError
from fedloom.methods.flexlora import flexlora
from tests.methods.helpers import adapter, client, effect, fold, play, shake

SCALE = 2.0
INFOS = [client("0", examples=1, rank=4), client("1", examples=3, rank=2), client("2", examples=4, rank=1)]
WEIGHTS = [0.125, 0.375, 0.5]


def dense(tree: Tree, module: str) -> np.ndarray:
    a, b = tree[f"{module}.lora_A.weight"], tree[f"{module}.lora_B.weight"]
    return SCALE * b.double().numpy() @ a.double().numpy()


def test_before_any_round_clients_get_the_first_rows_of_the_start() -> None:
    method, start = flexlora(), adapter(4, zero=True)
    state = method.server.init(start, SCALE, 3)
    for info in INFOS:
        got = method.server.send(state, info).trees["adapter"]
        assert torch.equal(got["m.q.lora_A.weight"], start["m.q.lora_A.weight"][: info.rank])
        assert torch.equal(got["m.q.lora_B.weight"], torch.zeros(5, info.rank))


def test_each_client_gets_the_best_of_its_rank() -> None:
    method = flexlora()
    state = method.server.init(adapter(4, zero=True), SCALE, 3)
    replies = [(play(method, state, info, shake(int(info.name))), info) for info in INFOS]
    state = method.server.step(state, fold(method, state, replies))
    for module in ("m.q", "m.v"):
        mean = sum(p * dense(parcel.trees["adapter"], module) for p, (parcel, _) in zip(WEIGHTS, replies, strict=True))
        u, s, vt = np.linalg.svd(mean)
        for info in [*INFOS, None]:
            rank = info.rank if info else 4
            got = effect(method.server.send(state, info), SCALE)[module].numpy()
            assert np.allclose(got, (u[:, :rank] * s[:rank]) @ vt[:rank], atol=1e-4)
    head = sum(p * parcel.trees["adapter"]["head.weight"] for p, (parcel, _) in zip(WEIGHTS, replies, strict=True))
    assert torch.allclose(state["adapter"]["head.weight"], torch.as_tensor(head), atol=1e-6)


def test_rank_one_by_hand() -> None:
    # 1/2 diag(4, 0) + 1/2 diag(0, 2) = diag(2, 1): rank 1 keeps diag(2, 0), as sqrt(2) on both sides
    method = flexlora()
    unit = torch.eye(2)
    state = method.server.init({"m.lora_A.weight": unit.clone(), "m.lora_B.weight": torch.zeros(2, 2)}, 1.0, 2)
    turns = [
        lambda t, e=e, v=v: {"m.lora_A.weight": unit[e : e + 1], "m.lora_B.weight": v * unit[:, e : e + 1]}
        for e, v in ((0, 4.0), (1, 2.0))
    ]
    infos = [client("0", rank=1), client("1", rank=1)]
    replies = [(play(method, state, info, turn), info) for info, turn in zip(infos, turns, strict=True)]
    state = method.server.step(state, fold(method, state, replies))
    got = method.server.send(state, infos[0]).trees["adapter"]
    assert torch.allclose(got["m.lora_A.weight"], torch.tensor([[2**0.5, 0.0]]))
    assert torch.allclose(got["m.lora_B.weight"], torch.tensor([[2**0.5], [0.0]]))


def test_missing_components_are_the_start_against_zeros() -> None:
    method, start = flexlora(), adapter(4, zero=True)
    state = method.server.init(start, SCALE, 3)
    reply = play(method, state, INFOS[2], shake(0))  # one client of rank 1: three components are missing
    state = method.server.step(state, fold(method, state, [(reply, INFOS[2])]))
    got = method.server.send(state, INFOS[0]).trees["adapter"]
    assert torch.equal(got["m.q.lora_A.weight"][1:], start["m.q.lora_A.weight"][1:])
    assert torch.equal(got["m.q.lora_B.weight"][:, 1:], torch.zeros(5, 3))
    assert np.allclose(dense(got, "m.q"), dense(reply.trees["adapter"], "m.q"), atol=1e-5)


def test_a_rank_above_the_largest_is_refused() -> None:
    method = flexlora()
    with pytest.raises(FedloomError, match=r"asks for rank 5.*set adapter\.rank to the largest"):
        method.server.send(method.server.init(adapter(4), SCALE, 1), client(rank=5))


def test_a_reply_with_other_modules_is_refused() -> None:
    method = flexlora()
    whole = adapter(4)
    fewer = {name: value for name, value in whole.items() if "m.v" not in name}
    replies = [(Parcel({"adapter": whole}), INFOS[0]), (Parcel({"adapter": fewer}), INFOS[1])]
    with pytest.raises(FedloomError, match=r"Module 'm\.v' is not in every client's reply"):
        fold(method, method.server.init(whole, SCALE, 2), replies)
