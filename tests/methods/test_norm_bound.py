"""The norm bound by hand and against Flower's clipping."""

import numpy as np
import pytest
import torch

from fedloom.core.contracts import Parcel, Tree
from fedloom.core.errors import FedloomError
from fedloom.methods.norm_bound import norm_bound
from tests.methods.helpers import adapter, client
from tests.methods.robust import after, attackers, flower, honest

START = {"a": torch.tensor([1.0, 1.0]), "b": torch.tensor([[2.0]])}


def moved(x: float, y: float) -> Tree:
    return {"a": START["a"] + torch.tensor([x, 0.0]), "b": START["b"] + y}


def length(tree: Tree, start: Tree) -> float:
    return float(np.sqrt(sum(((v.double() - start[n].double()).numpy() ** 2).sum() for n, v in tree.items())))


def test_a_long_change_is_shortened_over_the_whole_adapter() -> None:
    # (3, 4) has length 5 and becomes (0.6, 0.8); (0.3, 0.4) stays; their mean is (0.45, 0.6)
    found = after(norm_bound(), [moved(3, 4), moved(0.3, 0.4)], START)
    assert found["a"].tolist() == pytest.approx([1.45, 1.0])
    assert found["b"].tolist() == [pytest.approx([2.6])]


def test_weighted_by_examples() -> None:
    # client 1 holds twice as much as client 0: ((0.6, 0.8) + 2 (0.3, 0.4)) / 3 = (0.4, 1.6 / 3)
    found = after(norm_bound(weighting="examples"), [moved(3, 4), moved(0.3, 0.4)], START)
    assert (found["a"][0].item(), found["b"].item()) == pytest.approx((1.4, 2 + 1.6 / 3))


def test_the_bound_is_an_option() -> None:
    found = after(norm_bound(bound=2.5), [moved(3, 4)], START)
    assert (found["a"][0].item(), found["b"].item()) == pytest.approx((2.5, 4.0))


def test_no_change_leaves_the_bits_as_they_were() -> None:
    start = adapter()
    found = after(norm_bound(), [start, start, start], start)
    assert all(torch.equal(found[name], start[name]) for name in start)


def test_a_short_change_alone_is_the_clients_adapter() -> None:
    start, sent = adapter(), honest(1)[0]
    found = after(norm_bound(bound=100.0), [sent], start)
    assert all(torch.equal(found[name], sent[name]) for name in sent)


def test_no_attacker_moves_more_than_its_share() -> None:
    start = adapter()
    for bound in (0.01, 1.0, 3.0):
        assert length(after(norm_bound(bound), attackers(1), start), start) == pytest.approx(bound, rel=1e-4)
        found = after(norm_bound(bound), [*attackers(1), start, start, start], start)
        assert length(found, start) == pytest.approx(bound / 4, rel=1e-4)


def test_the_change_is_from_where_the_client_began_and_added_to_the_servers_adapter() -> None:
    method = norm_bound()
    began = {"a": torch.tensor([10.0])}  # what a lossy channel made of the server's 10.25
    state = method.server.init({"a": torch.tensor([10.25])}, 1.0, 1)
    lifted = method.reduce.lift(Parcel({"adapter": {"a": torch.tensor([10.5])}}), client(), began)
    assert method.server.step(state, method.reduce.lower(lifted))["adapter"]["a"].tolist() == [10.75]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("bound", [0.05, 1.0, 50.0])
def test_it_is_flowers(bound: float) -> None:
    clip = flower("flwr.supercore.differential_privacy").compute_clip_model_update
    start, sent = adapter(), [*honest(3), *attackers(1)]
    before = [value.double().numpy() for value in start.values()]
    clipped = [[value.double().numpy() for value in tree.values()] for tree in sent]
    for one in clipped:
        clip(one, before, bound)
    found = after(norm_bound(bound), sent, start)
    for value, *theirs in zip(found.values(), *clipped, strict=True):
        assert np.allclose(value.numpy(), np.mean(theirs, axis=0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("bound", [0.0, -1.0, float("inf"), float("nan")])
def test_no_such_bound(bound: float) -> None:
    with pytest.raises(FedloomError, match="norm-bound: bound"):
        norm_bound(bound)


def test_a_reply_with_other_tensors_is_refused() -> None:
    with pytest.raises(FedloomError, match="client '0' lacks tensor 'b'"):
        after(norm_bound(), [{"a": torch.zeros(2)}], START)
