"""Adapters of different ranks, filled up with zeros and averaged."""

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from fedloom.core import lora, shares
from fedloom.core.contracts import ClientInfo, Local, LocalRun, Method, Parcel, Reduce, Server, State, Tree
from fedloom.core.errors import FedloomError
from fedloom.core.tree import WeightedSum
from fedloom.methods._capped import capped, check_cap
from fedloom.methods._common import number, only_pairs, rest


@dataclass
class Turn:
    """One reply: the length of its products (0: they are all zero), its pairs (float64), their rank, and all else."""

    client: ClientInfo
    norm: float
    pairs: Tree
    rank: int
    rest: Tree


def hetlora(gamma: float = 0.99, penalty: float = 1e-3, cap: float = 2.0) -> Method:
    """A and B of any ranks, which clients may cut, filled up with zeros and averaged by the size of their products.

    HetLoRA, Cho et al. 2024 (arXiv 2401.06432, Fig. 2). Rank self-pruning at a client of rank r: with g = ``gamma`` and
    c = floor(g r), but at least 1, the components from c on are held down by a term of the loss, and they are cut off,
    and the client has rank c from then on, where their product fell in its training::

        term = penalty T,   T = sum_m ||B_m[:, c:]||_F ||A_m[c:, :]||_F;   rank c if T(end) < T(start), else r

    Then pairs are filled up with zeros to the largest rank and ``A = sum_k w_k A_k``, ``B = sum_k w_k B_k``,
    ``w_k = ||dW_k||_F / sum_j ||dW_j||_F``; client k gets the first r_k components. ``gamma = 1`` is without pruning;
    the paper's values of gamma and penalty are not confirmed. A single c for all modules m, with one sum over them, is
    ours. The paper leaves open what a client's norm is: here ``||dW_k||_F^2 = sum_m ||B_m A_m||_F^2`` over
    its modules. A client whose products are all zero counts nothing; where that is so of every client, all count by
    their training examples. One thing differs: components beyond the largest rank of a round's clients stay as they
    were, since zeros in both A and B would never learn again. Other tensors are averaged by training examples. Slot
    ``ranks`` of the state has the ranks that clients have cut.

    ``cap`` is ours: whoever sends a product a thousand times as long would otherwise be the model. Of the K clients of
    a round, none has a w_k above ``cap / K``. ``cap = 0`` is the paper's formula. Not additive: a share is known when
    all are there.

    Raises:
        FedloomError: gamma not above 0 and at most 1, penalty < 0, a cap that is neither 0 nor at least 1; of ``init``:
            a tensor R between B and A.
    """
    check_cap("hetlora: cap", cap)
    if not 0 < gamma <= 1:
        raise FedloomError(f"hetlora: gamma is {gamma!r}, expected a number above 0 and at most 1.")
    number("hetlora: penalty", penalty, least=0.0)

    def kept(rank: int) -> int:
        return max(1, shares.count(gamma, rank, "down"))

    def tail(adapter: Tree) -> Tensor:
        pairs = lora.pairs(adapter).values()
        return torch.stack([b[:, kept(len(a)) :].norm() * a[kept(len(a)) :].norm() for a, b in pairs]).sum()

    def term(run: LocalRun) -> Tensor:
        return penalty * tail(run.theta)

    @torch.no_grad()
    def rank(run: LocalRun) -> int:
        now = len(next(iter(lora.pairs(run.start).values()))[0])
        return kept(now) if float(tail(run.theta)) < float(tail(run.start)) else now

    def init(adapter: Tree, scale: float, clients: int) -> State:
        only_pairs("hetlora", adapter)
        return {"adapter": adapter, "ranks": {}}

    def step(state: State, total: Parcel) -> State:
        adapter = state["adapter"] | lora.over(state["adapter"], total.trees["adapter"])
        return {"adapter": adapter, "ranks": state.get("ranks", {}) | total.trees["ranks"]}

    def send(state: State, client: ClientInfo | None) -> Parcel:
        adapter = state["adapter"]
        if client is None:
            return Parcel({"adapter": adapter})
        ranks = state.get("ranks", {})
        return Parcel({"adapter": lora.truncate(adapter, int(ranks.get(client.name, client.rank)))})

    reduce = Reduce(_lift, _merge, lambda turns: _lower(turns, cap), additive=False)
    server = Server(init, step, send)
    local = Local(term=term, rank=rank, reveals={"rank": "rank"}) if gamma < 1 else Local()
    return Method(reduce, server, local, mixed_ranks=True, needs="products")


def _lift(reply: Parcel, client: ClientInfo, start: Tree) -> list[Turn]:
    adapter = reply.trees["adapter"]
    norm = math.sqrt(sum(lora.squared_norm(a, b) for a, b in lora.pairs(adapter).values()))
    halves = {name: value.double() for name, value in adapter.items() if lora.is_pair(name)}
    rank = len(next(iter(lora.pairs(adapter).values()))[0])
    return [Turn(client, norm, halves, rank, rest(adapter))]


def _merge(left: list[Turn], right: list[Turn]) -> list[Turn]:
    return left + right


def _lower(turns: list[Turn], cap: float) -> Parcel:
    """The means of pairs, by norms where some are not zero, and of all else; and the clients' ranks."""
    norms = capped(torch.tensor([turn.norm for turn in turns], dtype=torch.float64), cap).tolist()
    weights = norms if any(norms) else [float(turn.client.examples) for turn in turns]
    highest = max(turn.rank for turn in turns)
    padded = (WeightedSum.of(lora.pad(turn.pairs, highest), w) for turn, w in zip(turns, weights, strict=True) if w)
    plain = (WeightedSum.of(turn.rest, turn.client.examples) for turn in turns)
    means = functools.reduce(WeightedSum.merge, plain).mean() | functools.reduce(WeightedSum.merge, padded).mean()
    return Parcel({"adapter": means, "ranks": {turn.client.name: torch.tensor(turn.rank) for turn in turns}})
