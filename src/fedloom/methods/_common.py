"""What several methods are made of: the plain mean, stacked pairs, the plain server, checks of options."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from fedloom.core import lora, tree
from fedloom.core.contracts import ClientInfo, Parcel, Reduce, Server, State, Tree
from fedloom.core.errors import FedloomError
from fedloom.core.tree import WeightedSum

BLOCK = 2**16
"""Entries of each client that are looked at together: what a rule needs in float64 beside the replies themselves."""

Weighting = Literal["examples", "uniform"]
"""Clients count by their training examples, or all the same."""


@dataclass
class Means:
    """Replies so far: a running mean a slot, and how many clients and examples are in it."""

    slots: dict[str, WeightedSum]
    clients: int
    examples: int


def mean(**weighting: Weighting) -> Reduce:
    """The mean of the named slots, each with its own weighting: ``mean(adapter="examples", control="uniform")``.

    Every slot has the names and shapes of slot ``adapter``; ``lift`` refuses a reply where it does not. ``lower`` gives
    the means, and the facts ``clients`` and ``examples``. Additive: one sum a slot.
    """

    def lift(reply: Parcel, client: ClientInfo, start: Tree) -> Means:
        weights = {"examples": client.examples, "uniform": 1}
        for slot in weighting:
            what = f"Slot {slot!r} of the reply of client {client.name!r}"
            tree.check_same(reply.trees.get(slot, {}), reply.trees["adapter"], what)
        slots = {slot: WeightedSum.of(reply.trees[slot], weights[kind]) for slot, kind in weighting.items()}
        return Means(slots, 1, client.examples)

    def merge(left: Means, right: Means) -> Means:
        for slot, total in left.slots.items():
            total.merge(right.slots[slot])
        return Means(left.slots, left.clients + right.clients, left.examples + right.examples)

    def lower(total: Means) -> Parcel:
        trees = {slot: total.slots[slot].mean() for slot in weighting}
        return Parcel(trees, {"clients": total.clients, "examples": total.examples})

    return Reduce(lift, merge, lower, additive=True)


@dataclass
class Stacks:
    """Replies so far: each module's pairs with their client's weight, and a running mean of single tensors."""

    pairs: dict[str, list[tuple[float, lora.Pair]]]
    plain: WeightedSum


def stacked(weighting: Weighting = "examples", *, halves: bool = False) -> Reduce:
    """The weighted mean of the *products* B A, as stacked pairs of any ranks, and of all other tensors.

    ``lower`` gives slot ``stack`` (pairs of the sum of the ranks, product ``sum p_k B_k A_k``) and slot ``adapter``
    (the rest; with ``halves`` also mean(A) and mean(B), for which all must have one rank). Not additive: it grows by a
    client's pairs.
    """

    def lift(reply: Parcel, client: ClientInfo, start: Tree) -> Stacks:
        adapter = reply.trees["adapter"]
        weight = float(client.examples if weighting == "examples" else 1)
        parts = {module: [(weight, pair)] for module, pair in lora.pairs(adapter).items()}
        return Stacks(parts, WeightedSum.of(adapter if halves else rest(adapter), weight))

    def merge(left: Stacks, right: Stacks) -> Stacks:
        if left.pairs.keys() != right.pairs.keys():
            odd = min(left.pairs.keys() ^ right.pairs.keys())
            raise FedloomError(f"Module {odd!r} is not in every client's reply. All must train the same modules.")
        left.plain.merge(right.plain)
        for module, parts in left.pairs.items():
            parts += right.pairs[module]
        return left

    def lower(total: Stacks) -> Parcel:
        others, weight = total.plain.mean(), total.plain.weight
        stacks = {m: lora.stack([(n / weight, a, b) for n, (a, b) in parts]) for m, parts in total.pairs.items()}
        return Parcel({"stack": lora.tree(stacks), "adapter": others})

    return Reduce(lift, merge, lower, additive=False)


def rest(adapter: Tree) -> Tree:
    """The tensors of an adapter that are no LoRA pairs."""
    return tree.select(adapter, lambda name: not lora.is_pair(name))


def only_pairs(method: str, adapter: Tree) -> None:
    """Refuse an adapter in whose products something stands between B and A.

    Raises:
        FedloomError: with the name of the first such tensor.
    """
    for name in sorted(adapter):
        if name.endswith(lora.R):
            raise FedloomError(
                f"{method} merges products B A, but the adapter has {name!r} between B and A. Set adapter.kind = "
                "'lora', or use fed-sb."
            )


def grown(base: Tree, change: Mapping[str, lora.Pair], scale: float) -> Tree:
    """The base pairs with ``scale`` times the product of each changed pair added, none of a rank above min(d, k)."""
    merged = lora.pairs(base)
    for module, pair in change.items():
        parts = [(1.0, *merged[module])] if module in merged else []
        merged[module] = lora.compress(*lora.stack([*parts, (scale, *pair)]))
    return lora.tree(merged)


def send_adapter(state: State, client: ClientInfo | None) -> Parcel:
    """The same adapter for every client."""
    return Parcel({"adapter": state["adapter"]})


def replace_server() -> Server:
    """The plain server: what the clients share of the adapter becomes its mean; nothing else is kept."""

    def init(adapter: Tree, scale: float, clients: int) -> State:
        return {"adapter": adapter}

    def step(state: State, total: Parcel) -> State:
        return {"adapter": state["adapter"] | total.trees["adapter"]}

    return Server(init, step, send_adapter)


def side_by_side(values: Sequence[Tensor]) -> Iterator[Tensor]:
    """The clients' values of one tensor, side by side in float64: ``[clients, entries]``, some entries at a time."""
    for parts in zip(*(torch.split(value.detach().flatten(), BLOCK) for value in values), strict=True):
        yield torch.stack(parts).to("cpu", torch.float64)


def number(
    option: str, value: float, *, above: float = -math.inf, least: float = -math.inf, below: float = math.inf
) -> None:
    """Check an option: a finite number, greater than ``above``, ``least`` or more, less than ``below``.

    Raises:
        FedloomError: naming the option (``fedprox: mu``), its value and what was expected.
    """
    if not (above < value < below and value >= least):
        limits = {"above": above, "at least": least, "below": below}
        wanted = " and ".join(f"{word} {limit:g}" for word, limit in limits.items() if math.isfinite(limit))
        raise FedloomError(f"{option} is {value!r}, expected a number {wanted}.")
