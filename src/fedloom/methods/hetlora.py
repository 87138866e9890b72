"""Adapters of different ranks, filled up with zeros and averaged."""

import math
from dataclasses import dataclass

import torch

from fedloom.core import lora
from fedloom.core.contracts import ClientInfo, Method, Parcel, Reduce, Server, State, Tree
from fedloom.core.tree import WeightedSum
from fedloom.methods._common import only_pairs, rest


@dataclass
class Padded:
    """Replies so far: running means of the pairs (float64), in the largest rank so far, and of all else.

    ``moved``: some client's products are not all zero. Then the pairs are weighted by norms, else by examples.
    """

    moved: bool
    rank: int
    pairs: WeightedSum
    rest: WeightedSum


def hetlora() -> Method:
    """A and B of any ranks, filled up with zeros and averaged by the size of their products.

    HetLoRA, Cho et al. 2024 (arXiv 2401.06432, Fig. 2): pairs are filled up with zeros to the largest rank and
    ``A = sum_k w_k A_k``, ``B = sum_k w_k B_k``, ``w_k = ||dW_k||_F / sum_j ||dW_j||_F``; client k then gets the first
    r_k components. The paper leaves open what a client's norm is: here ``||dW_k||_F^2 = sum_m ||B_m A_m||_F^2`` over
    its modules. A client whose products are all zero counts nothing; where that is so of every client, all count by
    their training examples. Two things differ: components beyond the largest rank of a round's clients stay as they
    were, since zeros in both A and B would never learn again; and the pruning of ranks at the clients, with its
    regulariser, is not built. Other tensors are averaged by training examples.
    """

    def init(adapter: Tree, scale: float, clients: int) -> State:
        only_pairs("hetlora", adapter)
        return {"adapter": adapter}

    def step(state: State, total: Parcel) -> State:
        return {"adapter": state["adapter"] | _over(state["adapter"], total.trees["adapter"])}

    def send(state: State, client: ClientInfo | None) -> Parcel:
        adapter = state["adapter"]
        return Parcel({"adapter": adapter if client is None else lora.truncate(adapter, client.rank)})

    return Method(Reduce(_lift, _merge, _lower, additive=True), Server(init, step, send), mixed_ranks=True)


def _lift(reply: Parcel, client: ClientInfo, start: Tree) -> Padded:
    adapter = reply.trees["adapter"]
    norm = math.sqrt(sum(lora.squared_norm(a, b) for a, b in lora.pairs(adapter).values()))
    halves = {name: value.double() for name, value in adapter.items() if lora.is_pair(name)}
    pairs = WeightedSum.of(halves, norm or client.examples)
    return Padded(norm > 0, client.rank, pairs, WeightedSum.of(rest(adapter), client.examples))


def _merge(left: Padded, right: Padded) -> Padded:
    left.rest.merge(right.rest)
    if left.moved != right.moved:
        counts = left if left.moved else right
        return Padded(True, counts.rank, counts.pairs, left.rest)
    rank = max(left.rank, right.rank)
    return Padded(left.moved, rank, _padded(left, rank).merge(_padded(right, rank)), left.rest)


def _lower(total: Padded) -> Parcel:
    return Parcel({"adapter": total.rest.mean() | total.pairs.mean()})


def _padded(total: Padded, rank: int) -> WeightedSum:
    """The mean of the pairs with zeros up to ``rank``, of the same weight."""
    if total.rank == rank:
        return total.pairs
    return WeightedSum.of(lora.pad(total.pairs.mean(), rank), total.pairs.weight)


def _over(adapter: Tree, mean: Tree) -> Tree:
    """The mean in the adapter's type; where it has fewer components, the adapter's own come after them."""
    before, filled = lora.pairs(adapter), dict(mean)
    for module, (a, b) in lora.pairs(mean).items():
        old_a, old_b = before[module]
        rank = a.shape[0]
        whole_a = torch.cat([a.to(old_a.dtype), old_a[rank:]])
        whole_b = torch.cat([b.to(old_b.dtype), old_b[:, rank:]], dim=1)
        filled |= lora.tree({module: (whole_a, whole_b)})
    return filled
