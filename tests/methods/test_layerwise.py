"""FedMLLM's layerwise regularisation by hand."""

import math
from typing import Any

import pytest
import torch

from fedloom.core import beside, config, resolve, wire
from fedloom.core.contracts import ClientInfo, Method, Parcel, State, Tree
from fedloom.core.errors import FedloomError
from fedloom.methods._divergence import GROUPS
from fedloom.methods.fedprox import fedprox
from fedloom.methods.layerwise import layerwise
from tests.methods.helpers import client, reply, run_of

STACK = "language_model.layers"


def deep(count: int, value: float = 0.0) -> Tree:
    """A number a layer, and one beside the layers."""
    made = {f"{STACK}.{number}.q.weight": torch.tensor([value]) for number in range(count)}
    return {**made, "connector.weight": torch.tensor([value])}


def strengths(method: Method, start: Tree, sent: Tree | None = None) -> dict[str, float]:
    """The factor of half a squared distance of 1 in each tensor."""
    slots = {"adapter": start} | ({"layerwise": sent} if sent else {})
    found = {}
    for name in start:
        run = run_of(Parcel(slots))
        with torch.no_grad():
            run.theta[name] += 1.0
        assert method.local.term is not None
        found[name] = 2 * method.local.term(run).item()
    return found


def test_base_is_the_term_of_fedprox_to_the_bit() -> None:
    run = run_of(Parcel({"adapter": deep(5, 0.3)}))
    with torch.no_grad():
        for number, leaf in enumerate(run.theta.values()):
            leaf.add_(0.1 * number)
    base, prox = layerwise(mu=0.01).local.term, fedprox(mu=0.01).local.term
    assert base is not None
    assert prox is not None
    assert torch.equal(base(run), prox(run))
    base(run).backward()
    assert run.theta["connector.weight"].grad.item() == pytest.approx(0.01 * 0.5)  # type: ignore[union-attr]


# 28 layers: 4 ... 23; 12: 12 / 7 = 1.7, so 2 ... 9; 4: 0.57, so 1 and 2; 3: 0.43, so all
@pytest.mark.parametrize(
    ("count", "held"), [(28, range(4, 24)), (40, range(4, 36)), (12, range(2, 10)), (4, range(1, 3)), (3, range(3))]
)
def test_adaptive_holds_the_middle_layers(count: int, held: range) -> None:
    found = strengths(layerwise("adaptive", mu=0.01), deep(count))
    wanted = {f"{STACK}.{n}.q.weight": 0.001 if n in held else 0.0 for n in range(count)} | {"connector.weight": 0.0}
    assert found == pytest.approx(wanted)


def test_a_margin_and_a_weight_of_ones_own() -> None:
    found = strengths(layerwise("adaptive", mu=0.5, margin=1, weight=0.4), deep(4))
    assert [round(value, 6) for value in found.values()] == [0.0, 0.2, 0.2, 0.0, 0.0]
    assert [*strengths(layerwise(mu=0.5, margin=0), deep(2)).values()] == [0.5, 0.5, 0.5]


def test_a_margin_that_leaves_nothing_is_refused_before_a_round() -> None:
    fits = layerwise("adaptive", margin=2).local.fits
    assert fits is not None
    fits(deep(5))
    with pytest.raises(FedloomError, match=rf"margin = 2 leaves no layer to hold \({STACK} has 4\)"):
        fits(deep(4))
    with pytest.raises(FedloomError, match=r"'adaptive' leaves no layer to hold .the adapter is in no numbered layer"):
        layerwise("adaptive").local.fits({"head.weight": torch.ones(1)})  # type: ignore[misc]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"kind": "fixed"}, "kind is 'fixed', expected base, adaptive or measured"),
        ({"mu": -1.0}, "mu is -1.0"),
        ({"margin": -1}, "margin is -1"),
        ({"memory": 1.0}, "memory is 1.0"),
        ({"weight": math.nan}, "weight is nan"),
        ({"kind": "measured", "margin": 1}, "has no margin"),
    ],
)
def test_bad_options(options: dict[str, Any], told: str) -> None:
    with pytest.raises(FedloomError, match=told):
        layerwise(**options)


MEASURED = layerwise("measured", mu=1.0)
FOUR = (
    (client("a", 1), {"image": 1.0}, (1.0, 1.0)),
    (client("b", 1), {"image": 1.0}, (3.0, 1.0)),
    (client("c", 2), {"text": 1.0}, (-1.0, 1.0)),
)
"""Clients with their examples, their shares, and how far they move layers 0 and 1."""


def play(state: State, info: ClientInfo, shares: dict[str, float], moves: tuple[float, ...]) -> Parcel:
    run = run_of(MEASURED.server.send(state, info), info.examples)
    run.modalities = shares
    with torch.no_grad():
        for number, moved in enumerate(moves):
            run.theta[f"{STACK}.{number}.q.weight"] += moved
    return reply(MEASURED, run)


def a_round(state: State, turns: Any, method: Method = MEASURED) -> State:
    total: Any = None
    for info, shares, moves in turns:
        start = method.server.send(state, info).trees["adapter"]
        lifted = method.reduce.lift(play(state, info, shares, moves), info, start)
        total = lifted if total is None else method.reduce.merge(total, lifted)
    return method.server.step(state, method.reduce.lower(total))


def begin(layers: int = 2) -> State:
    return MEASURED.server.init(deep(layers), 1.0, 4)


def found(state: State) -> dict[str, float]:
    return beside.figures(MEASURED, state)["layerwise"]


def test_divergence_by_hand() -> None:
    """Layer 0: image mean (1 + 3) / 2 = 2 of weight 2, text mean -1 of weight 2, all 0.5: between 2 * 1.5^2 * 2 = 9;
    squares 1 + 9 + 2 * 1 = 12: 9 / 12. Layer 1: all move alike: 0. What did not move is as it was."""
    state = a_round(begin(), FOUR)
    assert found(state) == pytest.approx({"rest": 0.0, f"{STACK}.0": 0.75, f"{STACK}.1": 0.0})
    assert state["adapter"][f"{STACK}.0.q.weight"].item() == pytest.approx((1 + 3 - 2) / 4)  # FedAvg's own mean


def test_the_strength_of_a_layer_follows() -> None:
    start = deep(2)
    assert set(strengths(MEASURED, start, MEASURED.server.send(begin(), client()).trees["layerwise"]).values()) == {0.0}
    sent = MEASURED.server.send(a_round(begin(), FOUR), client()).trees["layerwise"]
    assert [*strengths(MEASURED, start, sent).values()] == pytest.approx([0.75, 0.0, 0.0])
    assert MEASURED.server.send(a_round(begin(), FOUR), None).trees.keys() == {"adapter"}


def test_a_client_of_two_kinds_counts_to_both() -> None:
    """Weights: a image 1; b image 1/2, text 1/2. Moves 2 and -2: image mean (2 - 1) / 1.5 = 2/3, text mean -2, all 0:
    1.5 * 4/9 + 0.5 * 4 = 8/3; squares 4 + 4 = 8: 1/3."""
    turns = ((client("a", 1), {"image": 1.0}, (2.0,)), (client("b", 1), {"image": 0.5, "text": 0.5}, (-2.0,)))
    assert found(a_round(begin(), turns))[f"{STACK}.0"] == pytest.approx(1 / 3)


def test_clients_of_one_mix_have_nothing_that_parts_them() -> None:
    mixed = {"image": 0.25, "text": 0.25, "image+text": 0.5}
    turns = tuple((info, mixed, moves) for info, _, moves in FOUR)
    assert set(found(a_round(begin(), turns)).values()) == {0.0}


def test_a_round_of_one_group_keeps_what_was_measured() -> None:
    first = a_round(begin(), FOUR)
    second = a_round(first, FOUR[:2])  # image alone, as two of ten may be
    assert found(second) == found(first)
    third = a_round(second, (FOUR[0], (client("c", 1), {"text": 1.0}, (1.0,))))  # layer 0 alike: 0; layer 1 apart
    assert found(third)[f"{STACK}.0"] == pytest.approx(0.5 * 0.75)
    assert found(third)[f"{STACK}.1"] == pytest.approx(0.5 * 0.5)  # 1 and 0: between 1/2, squares 1


def test_it_survives_a_checkpoint() -> None:
    state = a_round(begin(12), FOUR)
    back = wire.unpack(wire.pack(Parcel(state)), max_bytes=10**6).trees
    assert found(a_round(back, FOUR)) == found(a_round(state, FOUR))
    sent, again = (MEASURED.server.send(one, client()).trees["layerwise"]["divergence"] for one in (state, back))
    assert torch.equal(sent, again)


def test_what_is_merged_stays_as_large_and_ranks_may_differ() -> None:
    method = beside.attached(resolve.build("methods", "flexlora", {}), MEASURED.besides[0])

    def pair(rank: int, value: float) -> Tree:
        return {"l.0.lora_A.weight": torch.full((rank, 2), value), "l.0.lora_B.weight": torch.full((2, rank), value)}

    state, total = method.server.init(pair(2, 0.0), 1.0, 2), None
    for rank, group, value in ((1, "image", 1.0), (2, "text", -1.0), (1, "text", -1.0)):
        info = client(group, 1, rank)
        shares = {one: torch.tensor(float(one == group), dtype=torch.float64) for one in GROUPS}
        lifted = method.reduce.lift(Parcel({"adapter": pair(rank, value), "modality": shares}), info, pair(rank, 0.0))
        total = lifted if total is None else method.reduce.merge(total, lifted)
    after = method.server.step(state, method.reduce.lower(total))
    # component 0, 4 entries: image 1, text mean -1, all -1/3: 1 * 16/9 + 2 * 4/9 = 24/9 each; component 1: image 0,
    # text mean -1/2, all -1/3: 1/9 + 2/36 = 1/6 each; squares 4 + 8 + 4 = 16
    assert beside.figures(method, after)["layerwise"] == pytest.approx({"l.0": 4 * (24 / 9 + 1 / 6) / 16})


@pytest.mark.parametrize("shares", [{}, {"image": 1.0}, dict.fromkeys(GROUPS, 0.5), {"sound": 1.0}])
def test_shares_that_are_none_are_refused(shares: dict[str, float]) -> None:
    slot = {name: torch.tensor(value, dtype=torch.float64) for name, value in shares.items()}
    with pytest.raises(FedloomError, match=r"expected shares of image\+text, image, text, neither that sum to 1"):
        MEASURED.reduce.lift(Parcel({"adapter": deep(2), "modality": slot}), client(), deep(2))


def test_a_parcel_of_other_layers_is_refused() -> None:
    run = run_of(Parcel({"adapter": deep(2), "layerwise": {"divergence": torch.ones(9)}}))
    with pytest.raises(FedloomError, match="has no number for each of 3 layers"):
        MEASURED.local.term(run)  # type: ignore[misc]


@pytest.mark.parametrize("host", ["fedavg", "fedadam", "scaffold", "hetlora"])
@pytest.mark.parametrize("kind", ["base", "adaptive", "measured"])
def test_any_method_takes_it(host: str, kind: str) -> None:
    sets = [f"method={host}", f'method.with=["layerwise:{kind}"]']
    method: Method = config.build(config.load("quickstart", sets), "method")
    assert ("modality" in method.local.reveals) == (kind == "measured")
    assert bool(method.besides) == (kind == "measured")
