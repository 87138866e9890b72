"""Sums of pairs of different ranks, component by component."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fedloom.core import lora
from fedloom.core.contracts import ClientInfo, Parcel, Tree
from fedloom.core.errors import FedloomError
from fedloom.core.tree import WeightedSum
from fedloom.methods._common import rest


@dataclass
class Levels:
    """Replies so far: the weighted sums of the pairs, float64, filled up with zeros to the largest rank; the weight
    behind each component ``[rank]``, of which the first is everyone's; and the mean of all else."""

    pairs: Tree
    weights: Tensor
    plain: WeightedSum


def lift(reply: Parcel, client: ClientInfo, start: Tree) -> Levels:
    """A reply, weighted by its client's training examples."""
    adapter, weight = reply.trees["adapter"], float(client.examples)
    pairs = {name: weight * value.double() for name, value in adapter.items() if lora.is_pair(name)}
    rank = max((len(a) for a, _ in lora.pairs(pairs).values()), default=0)
    return Levels(pairs, torch.full((rank,), weight, dtype=torch.float64), WeightedSum.of(rest(adapter), weight))


def merge(left: Levels, right: Levels) -> Levels:
    """Both together.

    Raises:
        FedloomError: they do not have the same tensors.
    """
    left.pairs, right.pairs = lora.level(left.pairs, right.pairs)
    weights = [torch.zeros(max(len(left.weights), len(right.weights)), dtype=torch.float64) for _ in range(2)]
    for filled, given in zip(weights, (left.weights, right.weights), strict=True):
        filled[: len(given)] = given
    if left.pairs.keys() != right.pairs.keys():
        odd = min(left.pairs.keys() ^ right.pairs.keys())
        raise FedloomError(f"Tensor {odd!r} is not in every client's reply. All must train the same modules.")
    pairs = {name: value + right.pairs[name] for name, value in left.pairs.items()}
    return Levels(pairs, weights[0] + weights[1], left.plain.merge(right.plain))


def mean(total: Levels, weights: Tensor) -> Parcel:
    """The sums of the components over their ``weights`` ``[rank]``, and the mean of all else."""
    means = {module: (a / weights[:, None], b / weights) for module, (a, b) in lora.pairs(total.pairs).items()}
    return Parcel({"adapter": total.plain.mean() | lora.tree(means)})
