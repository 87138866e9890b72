"""What averaging loses: the global model after a round against the mean of the clients' dense changes, in NumPy.

The clients' adapters are random, nothing is trained; edge cases of the same rules stand below.
"""

from typing import Any

import numpy as np
import pytest
import torch

from fedloom.core import lora, resolve
from fedloom.core.contracts import ClientInfo, Method, Parcel, State, Tree
from fedloom.core.errors import FedloomError
from tests.methods.helpers import Turn, adapter, client, fold, play, shake

SCALE = 0.5
INFOS = [client("0", examples=1), client("1", examples=3), client("2", examples=4)]
WEIGHTS = [0.125, 0.375, 0.5]
LARGE = {"rank": 2, "k": 40, "d": 30}
FULL = {"rank": 5, "k": 6, "d": 5}
"""Pairs of full rank, whose stacks are compressed."""

PRODUCTS = ["fedex-lora", "flexlora", "frlora", "hetlora", "lora-fair", "stacking"]
EXACT: list[tuple[str, dict[str, Any]]] = [
    ("fed-sb", {}),
    ("fedex-lora", {}),
    ("ffa-lora", {}),
    ("frlora", {"average": "products"}),
    ("stacking", {}),
]
INEXACT: list[tuple[str, dict[str, Any]]] = [
    ("fedavg", {}),
    ("hetlora", {}),
    ("lora-fair", {}),
    ("lora-fair", {"similarity": "columns"}),
    ("lora-fair", {"similarity": "frobenius"}),
    ("frlora", {}),
]


def begin(name: str, size: dict[str, int], **options: Any) -> tuple[Method, State]:
    method: Method = resolve.build("methods", name, options)
    return method, method.server.init(adapter(**size, between=name == "fed-sb"), SCALE, 3)


def ranked(infos: list[ClientInfo], rank: int) -> list[ClientInfo]:
    return [client(info.name, info.examples, rank) for info in infos]


def dense(whole: Tree, base: Tree) -> np.ndarray:
    """The change of both modules' weights side by side, in float64."""
    found = []
    for module in ("m.q", "m.v"):
        total = np.zeros(())
        for part, factor in ((whole, SCALE), (base, 1.0)):
            if f"{module}.lora_A.weight" in part:
                a, b = (part[f"{module}.lora_{half}.weight"].double().numpy() for half in "AB")
                r = part.get(f"{module}.lora_R.weight", torch.eye(a.shape[0])).double().numpy()
                total = total + factor * b @ r @ a
        found.append(total)
    return np.concatenate(found, axis=1)


def round_of(method: Method, state: State, turns: list[Turn], infos: list[ClientInfo]) -> tuple[State, np.ndarray]:
    """The state after a round, and the mean of the clients' dense changes."""
    replies: list[tuple[Parcel, ClientInfo]] = []
    want = np.zeros(())
    for turn, info in zip(turns, infos, strict=True):
        sent = method.server.send(state, info).trees
        parcel = play(method, state, info, turn)
        share = info.examples / sum(other.examples for other in infos)
        want = want + share * dense(sent["adapter"] | parcel.trees["adapter"], sent.get("base", {}))
        replies.append((parcel, info))
    return method.server.step(state, fold(method, state, replies)), want


def gap(method: Method, state: State, want: np.ndarray) -> float:
    sent = method.server.send(state, None).trees
    return float(np.linalg.norm(dense(sent["adapter"], sent.get("base", {})) - want) / np.linalg.norm(want))


def gaps(name: str, size: dict[str, int], **options: Any) -> list[float]:
    method, state = begin(name, size, **options)
    found = []
    for number in range(2):
        turns = [shake(10 * number + n) for n in range(3)]
        state, want = round_of(method, state, turns, ranked(INFOS, size["rank"]))
        found.append(gap(method, state, want))
    return found


@pytest.mark.parametrize("size", [LARGE, FULL], ids=["large", "full"])
@pytest.mark.parametrize(("name", "options"), EXACT)
def test_exact_rules_lose_nothing(name: str, options: dict[str, Any], size: dict[str, int]) -> None:
    assert max(gaps(name, size, **options)) < 1e-5


def test_flexlora_loses_nothing_at_full_rank_alone() -> None:
    assert max(gaps("flexlora", FULL)) < 1e-5
    assert min(gaps("flexlora", LARGE)) > 1e-2


@pytest.mark.parametrize(("name", "options"), INEXACT)
@pytest.mark.parametrize("size", [LARGE, FULL], ids=["large", "full"])
def test_the_others_lose_something(name: str, options: dict[str, Any], size: dict[str, int]) -> None:
    assert min(gaps(name, size, **options)) > 1e-2


@pytest.mark.parametrize("similarity", ["cosine", "columns", "frobenius"])
@pytest.mark.parametrize("size", [LARGE, FULL], ids=["large", "full"])
def test_lora_fair_loses_less_than_fedavg(similarity: str, size: dict[str, int]) -> None:
    assert gaps("lora-fair", size, similarity=similarity, penalty=1e-4)[0] < 0.999 * gaps("fedavg", size)[0]


@pytest.mark.parametrize("name", sorted({*(name for name, _ in EXACT), *PRODUCTS}))
def test_one_client_alone_is_the_model(name: str) -> None:
    method, state = begin(name, FULL)
    for number in range(2):
        state, want = round_of(method, state, [shake(number)], [client(rank=5)])
        assert gap(method, state, want) < 1e-5


@pytest.mark.parametrize("name", sorted({*(name for name, _ in EXACT), *PRODUCTS}))
def test_clients_that_learn_the_same_are_the_model(name: str) -> None:
    method, state = begin(name, LARGE)
    for number in range(2):
        state, want = round_of(method, state, [shake(number) for _ in INFOS], INFOS)
        assert gap(method, state, want) < 1e-5


@pytest.mark.parametrize("name", sorted({*(name for name, _ in EXACT), *PRODUCTS, "fedsa-lora"}))
def test_no_examples_at_all_are_refused_and_a_client_without_counts_nothing(name: str) -> None:
    method, state = begin(name, FULL)
    none = client("none", examples=0, rank=5)
    replies = [(play(method, state, none, shake(0)), none)]
    with pytest.raises(FedloomError, match="not one client holds a training example"):
        fold(method, state, replies)
    if name != "hetlora":  # which does not count examples
        state, want = round_of(method, state, [shake(0), shake(1)], [none, client(rank=5)])
        assert name == "fedsa-lora" or gap(method, state, want) < 1e-5


@pytest.mark.parametrize("name", ["fed-sb", "fedex-lora", "fedsa-lora", "ffa-lora", "lora-fair"])
def test_ranks_that_cannot_be_merged_are_refused(name: str) -> None:
    method, state = begin(name, FULL)
    other = method.server.init(adapter(3, between=name == "fed-sb"), SCALE, 3)
    replies = [(play(method, kept, client(), shake(0)), client()) for kept in (state, other)]
    assert not method.mixed_ranks
    with pytest.raises(FedloomError, match=r"A client's reply: tensor .* expected"):
        fold(method, state, replies)


@pytest.mark.parametrize("name", PRODUCTS)
def test_methods_that_merge_products_refuse_what_stands_between(name: str) -> None:
    method: Method = resolve.build("methods", name, {})
    start = adapter(between=True)
    assert any(name.endswith(lora.R) for name in start)
    with pytest.raises(FedloomError, match=rf"{name} merges products B A, but the adapter has 'm\.q\.lora_R\.weight'"):
        method.server.init(start, SCALE, 3)
