"""What the robust rules are made of: replies kept side by side, rules for one entry at a time, Krum's choice."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from fedloom.core import tree
from fedloom.core.contracts import ClientInfo, Method, Parcel, Reduce, State, Tree
from fedloom.core.errors import FedloomError
from fedloom.core.tree import WeightedSum
from fedloom.methods._common import number, replace_server, side_by_side


def gathered(rule: Callable[[list[Tree]], Tree]) -> Reduce:
    """``rule`` of all the clients' adapters, which come to it in the order of the clients' names.

    Replies are kept as they came. Not additive: it grows by a client's adapter.
    """

    def lift(reply: Parcel, client: ClientInfo, start: Tree) -> dict[str, Tree]:
        return {client.name: reply.trees["adapter"]}

    def merge(left: dict[str, Tree], right: dict[str, Tree]) -> dict[str, Tree]:
        first = next(iter(left.values()))
        for name, adapter in right.items():
            tree.check_same(adapter, first, f"The reply of client {name!r}")
        return left | right

    def lower(replies: dict[str, Tree]) -> Parcel:
        return Parcel({"adapter": rule([replies[name] for name in sorted(replies)])})

    return Reduce(lift, merge, lower, additive=False)


def by_entry(rule: Callable[[Tensor], Tensor]) -> Method:
    """The method whose adapter is ``rule`` of the clients' values, entry by entry.

    ``rule`` takes float64 values ``[clients, entries]``, ascending in each column, and gives ``[entries]``. So the
    result has the same bits whatever order the clients come in.
    """

    def each(adapters: list[Tree]) -> Tree:
        result = {}
        for name, like in adapters[0].items():
            parts = [rule(block.sort(dim=0).values) for block in side_by_side([adapter[name] for adapter in adapters])]
            result[name] = torch.cat(parts).reshape(like.shape).to(like.dtype)
        return result

    return Method(reduce=gathered(each), server=replace_server())


def nearest_to_all(method: str, byzantine: int | None, keep: int | None) -> Method:
    """The plain mean of the ``keep`` adapters with the lowest Krum scores; ``method`` names it in messages.

    Raises:
        FedloomError: byzantine < 0 or keep < 1; once the clients are known, 2 byzantine + 2 >= n or keep > n - f.
    """
    if byzantine is not None:
        number(f"{method}: byzantine", byzantine, least=0)
    if keep is not None:
        number(f"{method}: keep", keep, least=1)

    def rule(adapters: list[Tree]) -> Tree:
        count = len(adapters)
        bad = _bad(count, byzantine)
        wanted = max(1, count - bad - 2) if keep is None else min(keep, count - bad)
        best = krum_scores(adapters, bad).sort(stable=True).indices[:wanted].tolist()
        return functools.reduce(WeightedSum.merge, (WeightedSum.of(adapters[place], 1) for place in best)).mean()

    server = replace_server()

    def init(adapter: Tree, scale: float, clients: int) -> State:
        _tolerated(method, clients, byzantine)  # what all clients cannot outvote, no cohort can
        if keep is not None and keep > (honest := clients - _bad(clients, byzantine)):
            raise FedloomError(
                f"{method}: keep is {keep}, but of {clients} clients with {clients - honest} Byzantine ones at most "
                f"{honest} are honest. Lower keep, or let more clients take part."
            )
        return server.init(adapter, scale, clients)

    return Method(reduce=gathered(rule), server=replace(server, init=init))


def krum_scores(adapters: Sequence[Tree], byzantine: int) -> Tensor:
    """Each adapter's sum of squared distances to its ``n - f - 2`` (at least one) nearest others, ``[n]``, float64.

    Distances are over the whole adapter and come from explicit differences: where adapters differ little,
    ``|x|^2 + |y|^2 - 2 x y`` would be rounding errors.
    """
    count = len(adapters)
    distances = torch.zeros(count, count, dtype=torch.float64)
    for name in adapters[0]:
        for block in side_by_side([adapter[name] for adapter in adapters]):
            for place, row in enumerate(block):
                distances[place] += (block - row).square().sum(dim=1)
    others = distances.sort(dim=1).values[:, 1:]
    return others[:, : max(1, count - byzantine - 2)].sum(dim=1)


def _tolerated(method: str, clients: int, byzantine: int | None) -> None:
    """Refuse more Byzantine clients than all there are can outvote."""
    if byzantine is not None and 2 * byzantine + 2 >= clients:
        raise FedloomError(
            f"{method}: {clients} clients cannot outvote {byzantine} Byzantine ones: 2 * byzantine + 2 must be less "
            f"than the clients that there are. Let at least {2 * byzantine + 3} take part, or leave byzantine out, "
            "which takes the largest that each round allows."
        )


def _bad(count: int, byzantine: int | None) -> int:
    """How many Byzantine clients of ``count`` are reckoned with: as many as asked for, where so few can be outvoted."""
    return _most(count) if byzantine is None else min(_most(count), byzantine)


def _most(count: int) -> int:
    """The largest f with 2f + 2 < n; 0 where there is none."""
    return max(0, (count - 3) // 2)
