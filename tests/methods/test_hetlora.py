"""HetLoRA by hand and against dense products."""

import numpy as np
import pytest
import torch

from fedloom.core.contracts import Parcel
from fedloom.core.errors import FedloomError
from fedloom.methods.hetlora import hetlora
from tests.methods.helpers import Turn, adapter, client, fold, play, run_of, shake, step

A, B = "m.lora_A.weight", "m.lora_B.weight"


def ends(a: list[list[float]], b: list[list[float]]) -> Turn:
    return lambda t: {A: torch.tensor(a), B: torch.tensor(b)}


SMALL = client("small", rank=1), ends([[3.0, 0.0]], [[1.0], [0.0]])  # the product's norm is 3
LARGE = client("large", examples=9, rank=2), ends([[1.0, 0.0], [0.0, 1.0]], [[0.0, 0.0], [0.0, 1.0]])  # and 1


def begin() -> dict[str, dict[str, torch.Tensor]]:
    return hetlora().server.init({A: torch.full((2, 2), 7.0), B: torch.full((2, 2), 5.0)}, 1.0, 2)


@pytest.mark.parametrize("turns", [[SMALL, LARGE], [LARGE, SMALL]], ids=["small-first", "large-first"])
def test_by_hand(turns: list) -> None:
    # weights 3/4 and 1/4, whatever the examples; the small one's second row and column are zeros
    method = hetlora(gamma=1.0)
    state = step(method, begin(), turns)
    assert torch.allclose(state["adapter"][A], torch.tensor([[2.5, 0.0], [0.0, 0.25]]))
    assert torch.allclose(state["adapter"][B], torch.tensor([[0.75, 0.0], [0.0, 0.25]]))
    sent = method.server.send(state, SMALL[0]).trees["adapter"]
    assert torch.allclose(sent[A], torch.tensor([[2.5, 0.0]]))
    assert torch.allclose(sent[B], torch.tensor([[0.75], [0.0]]))


def test_components_that_no_client_has_stay() -> None:
    state = step(hetlora(gamma=1.0), begin(), [SMALL])
    assert state["adapter"][A].tolist() == [[3.0, 0.0], [7.0, 7.0]]
    assert state["adapter"][B].tolist() == [[1.0, 5.0], [0.0, 5.0]]


def test_a_norm_is_over_all_modules() -> None:
    method = hetlora(gamma=1.0)
    clients = [client(str(number), examples=number + 1, rank=rank) for number, rank in enumerate((3, 1, 2))]
    state = method.server.init(adapter(3), 2.0, 3)
    replies = [(play(method, state, info, shake(n)), info) for n, info in enumerate(clients)]
    state = method.server.step(state, fold(method, state, replies))
    trees = [{name: value.double().numpy() for name, value in parcel.trees["adapter"].items()} for parcel, _ in replies]
    norms = [
        np.linalg.norm([tree[f"{m}.lora_B.weight"] @ tree[f"{m}.lora_A.weight"] for m in ("m.q", "m.v")])
        for tree in trees
    ]
    for module in ("m.q", "m.v"):
        want = np.zeros((3, 6))
        for norm, tree in zip(norms, trees, strict=True):
            a = tree[f"{module}.lora_A.weight"]
            want[: len(a)] += norm / sum(norms) * a
        assert np.allclose(state["adapter"][f"{module}.lora_A.weight"].numpy(), want, atol=1e-5)
    heads = [tree["head.weight"] for tree in trees]
    assert np.allclose(state["adapter"]["head.weight"].numpy(), np.average(heads, axis=0, weights=[1, 2, 3]), atol=1e-6)


def test_a_client_without_products_counts_nothing() -> None:
    still = client("still", examples=50, rank=2), ends([[9.0, 9.0], [9.0, 9.0]], [[0.0, 0.0], [0.0, 0.0]])
    alone = step(hetlora(gamma=1.0), begin(), [LARGE])["adapter"]
    for turns in ([still, LARGE], [LARGE, still]):
        beside = step(hetlora(gamma=1.0), begin(), turns)["adapter"]
        assert torch.equal(beside[A], alone[A])
        assert torch.equal(beside[B], alone[B])


def test_no_product_is_so_long_that_a_client_counts_for_more_than_its_part() -> None:
    # lengths 1, 1, 2 and 1000 (A is one row of length 1): of four at most 1/2, so that of 1000 counts as 4
    lengths = (1.0, 1.0, 2.0, 1000.0)
    turns = [(client(str(n), rank=1), ends([[1.0, 0.0]], [[b], [0.0]])) for n, b in enumerate(lengths)]
    start = {A: torch.ones(1, 2), B: torch.zeros(2, 1)}
    state = step(hetlora(gamma=1.0), hetlora(gamma=1.0).server.init(start, 1.0, 4), turns)
    assert state["adapter"][B].tolist() == [[pytest.approx((1 + 1 + 2 * 2 + 4 * 1000) / 8)], [0.0]]
    paper = hetlora(gamma=1.0, cap=0)
    state = step(paper, paper.server.init(start, 1.0, 4), turns)
    assert state["adapter"][B][0, 0].item() == pytest.approx((1 + 1 + 4 + 1e6) / 1004)


def test_where_no_client_has_products_examples_count() -> None:
    # (1 * 4 + 3 * 8) / 4 = 7
    turns = [(client(str(n), n, rank=1), ends([[value, value]], [[0.0], [0.0]])) for n, value in ((1, 4.0), (3, 8.0))]
    start = {A: torch.ones(1, 2), B: torch.zeros(2, 1)}
    state = step(hetlora(gamma=1.0), hetlora(gamma=1.0).server.init(start, 1.0, 2), turns)
    assert state["adapter"][A].tolist() == [[7.0, 7.0]]
    assert state["adapter"][B].tolist() == [[0.0], [0.0]]


def pruned(gamma: float, start: tuple[float, ...], end: tuple[float, ...]) -> tuple[float, int]:
    """The term of the loss at the end, and the rank, of a client whose components have these products (A is ones)."""
    method = hetlora(gamma, penalty=0.5)
    received = {A: torch.ones(len(start), 2), B: torch.tensor([start])}
    run = run_of(Parcel({"adapter": received}))
    with torch.no_grad():
        run.theta[B].copy_(torch.tensor([end]))
    assert method.local.term is not None
    assert method.local.rank is not None
    term = method.local.term(run)
    term.backward()  # type: ignore[no-untyped-call]
    assert all(torch.isfinite(leaf.grad).all() for leaf in run.theta.values() if leaf.grad is not None)
    return term.item(), method.local.rank(run)


# the tail from floor(gamma r) on: its B has norm 5 (3, 4) or 3; A's rows are (1, 1), so A's tail has norm 2 or sqrt 2
@pytest.mark.parametrize(
    ("gamma", "start", "end", "term", "rank"),
    [
        (0.5, (1, 1, 4, 4), (1, 1, 3, 4), 0.5 * 5 * 2, 2),
        (0.5, (1, 1, 3, 3), (1, 1, 3, 4), 0.5 * 5 * 2, 4),  # it grew
        (0.5, (1, 1, 3, 4), (9, 9, 3, 4), 0.5 * 5 * 2, 4),  # it stayed
        (0.99, (1, 1, 1, 4), (1, 1, 9, 3), 0.5 * 3 * 2**0.5, 3),
        (0.29, (4,) * 5, (1,) * 5, 0.5 * 2 * 8**0.5, 1),  # floor(1.45)
        (0.1, (4, 4), (1, 1), 0.5 * 1 * 2**0.5, 1),  # at least one stays
        (0.5, (4,), (3,), 0.0, 1),  # nothing to cut
        (0.5, (0, 0), (1, 1), 0.5 * 2**0.5, 2),  # the first round, from B = 0
        (0.5, (1, 1), (0, 0), 0.0, 1),
    ],
)
def test_pruning(gamma: float, start: tuple, end: tuple, term: float, rank: int) -> None:
    start, end = (tuple(map(float, values)) for values in (start, end))
    assert pruned(gamma, start, end) == (pytest.approx(term), rank)


def test_a_share_that_floating_point_cuts_too_far() -> None:
    assert pruned(0.29, (4.0,) * 100, (1.0,) * 100)[1] == 29  # 0.29 * 100 is 28.999999999999996


def test_a_client_that_was_cut_keeps_its_rank_and_nobody_elses() -> None:
    method, state = hetlora(), begin()
    cut = Parcel({"adapter": {A: torch.tensor([[3.0, 0.0]]), B: torch.tensor([[1.0], [0.0]])}})
    info, other = client("cut", rank=2), client("other", rank=2)
    state = method.server.step(state, fold(method, state, [(cut, info)]))
    assert len(method.server.send(state, info).trees["adapter"][A]) == 1
    assert len(method.server.send(state, other).trees["adapter"][A]) == 2
    state = step(method, state, [LARGE])  # a round without it
    assert len(method.server.send(state, info).trees["adapter"][A]) == 1


def test_without_pruning_there_is_none() -> None:
    assert hetlora(gamma=1.0).local.rank is None
    assert hetlora(gamma=1.0).local.term is None


def test_three_rounds_with_another_cohort_in_each() -> None:
    method, scale = hetlora(), 1.0
    infos = [client(str(k), k + 1, rank=rank) for k, rank in enumerate((3, 1, 2, 3))]
    state = method.server.init({n: v.double() for n, v in adapter(3).items()}, scale, 4)
    mine = {name: value.numpy().copy() for name, value in state["adapter"].items()}
    ranks = [info.rank for info in infos]
    for number, cohort in enumerate([(0, 1, 2), (1, 2), (0, 3)]):
        replies = {k: play(method, state, infos[k], shake(10 * number + k)) for k in cohort}
        state = method.server.step(state, fold(method, state, [(replies[k], infos[k]) for k in cohort]))
        ends = {}
        for k in cohort:
            begun = {
                name: torch.from_numpy(
                    value[: ranks[k]] if "_A" in name else value[:, : ranks[k]] if "_B" in name else value
                )
                for name, value in mine.items()
            }
            ends[k] = {name: value.numpy() for name, value in shake(10 * number + k)(begun).items()}
            tails = [
                sum(
                    np.linalg.norm(tree[f"{m}.lora_B.weight"][:, cut:])
                    * np.linalg.norm(tree[f"{m}.lora_A.weight"][cut:])
                    for m in ("m.q", "m.v")
                )
                for cut in [max(1, 99 * ranks[k] // 100)]
                for tree in ({n: v.numpy() for n, v in begun.items()}, ends[k])
            ]
            ranks[k] = max(1, 99 * ranks[k] // 100) if tails[1] < tails[0] else ranks[k]
        norms = {}
        for k in cohort:
            products = [
                ends[k][f"{m}.lora_B.weight"][:, : ranks[k]] @ ends[k][f"{m}.lora_A.weight"][: ranks[k]]
                for m in ("m.q", "m.v")
            ]
            norms[k] = np.linalg.norm(products)
        highest, whole = max(ranks[k] for k in cohort), sum(norms.values())
        for m in ("m.q", "m.v"):
            a, b = np.zeros((highest, 6)), np.zeros((5, highest))
            for k in cohort:
                a[: ranks[k]] += norms[k] / whole * ends[k][f"{m}.lora_A.weight"][: ranks[k]]
                b[:, : ranks[k]] += norms[k] / whole * ends[k][f"{m}.lora_B.weight"][:, : ranks[k]]
            mine[f"{m}.lora_A.weight"][:highest], mine[f"{m}.lora_B.weight"][:, :highest] = a, b
        mine["head.weight"] = np.average(
            [ends[k]["head.weight"] for k in cohort], axis=0, weights=[k + 1 for k in cohort]
        )
        for name, value in mine.items():
            np.testing.assert_allclose(state["adapter"][name].numpy(), value, rtol=0, atol=1e-9)


@pytest.mark.parametrize("options", [{"gamma": 0.0}, {"gamma": 1.1}, {"gamma": float("nan")}, {"penalty": -1.0}])
def test_no_such_options(options: dict[str, float]) -> None:
    with pytest.raises(FedloomError, match=f"hetlora: {next(iter(options))} is"):
        hetlora(**options)


def test_a_rank_above_the_largest_is_refused() -> None:
    with pytest.raises(FedloomError, match=r"asks for rank 3.*set adapter\.rank to the largest"):
        hetlora().server.send(begin(), client(rank=3))
