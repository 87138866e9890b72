"""What FedNano's two methods are made of: both estimates of a Fisher information, and the merge they weigh."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fedloom.core import tree
from fedloom.core.contracts import ClientInfo, Local, LocalRun, Method, Parcel, Reduce, Tree
from fedloom.core.errors import FedloomError
from fedloom.core.tree import WeightedSum
from fedloom.methods._capped import capped
from fedloom.methods._common import BLOCK, replace_server, side_by_side


@dataclass
class Turns:
    """Replies so far, side by side: adapters, their Fisher information, and the running plain mean by examples."""

    adapters: list[Tree]
    fisher: list[Tree]
    plain: WeightedSum


def by_fisher(local: Local, cap: float) -> Method:
    """The mean of the clients' adapters, each entry weighted by the client's slot ``fisher``, which ``local`` sends::

        theta = sum_k F_k theta_k / sum_k F_k

    where no F_k counts for more than ``cap / K`` of an entry's sum (``capped``; 0: the formula as it is). An entry
    whose Fisher is zero at every client is their plain mean, weighted by examples; otherwise a client counts by its
    Fisher alone. ``lift`` refuses a Fisher whose names or shapes are not the adapter's, or that is negative. Not
    additive: a share is known when all are there, so it grows by a client's adapter and its Fisher.
    """

    def lower(total: Turns) -> Parcel:
        return Parcel({"adapter": _merged(total, cap)})

    return Method(Reduce(_lift, _merge, lower, additive=False, bounded=("fisher",)), replace_server(), local)


def of_examples() -> Local:
    """Slot ``fisher``: the mean of the squares of each example's own gradient, at the trained adapter and without
    dropout."""
    return Local(send=_of_examples)


def of_batches() -> Local:
    """Slot ``fisher``: the mean of the squares of the gradients that the turn's steps had, before each step."""
    return Local(gradient=_add_batch, send=_of_batches)


def _add_squares(sums: Tree, gradients: Tree) -> None:
    for name, gradient in gradients.items():
        sums[name].add_(gradient.detach().cpu().double().square())


def _zeros(run: LocalRun) -> Tree:
    return {name: torch.zeros(leaf.shape, dtype=torch.float64) for name, leaf in run.theta.items()}


def _slot(sums: Tree, count: int, run: LocalRun) -> dict[str, Tree]:
    """The mean of ``count`` squares, in the adapter's types."""
    return {"fisher": {name: (value / max(1, count)).to(run.theta[name].dtype) for name, value in sums.items()}}


def _of_examples(run: LocalRun) -> dict[str, Tree]:
    sums = _zeros(run)
    for gradients in run.gradients():
        _add_squares(sums, gradients)
    return _slot(sums, run.examples, run)


def _add_batch(run: LocalRun) -> None:
    """Add the squares of one batch's gradient."""
    sums = run.scratch.setdefault("squares", _zeros(run))
    _add_squares(sums, {name: leaf.grad for name, leaf in run.theta.items() if leaf.grad is not None})


def _of_batches(run: LocalRun) -> dict[str, Tree]:
    return _slot(run.scratch.get("squares", _zeros(run)), run.steps, run)


def _lift(reply: Parcel, client: ClientInfo, start: Tree) -> Turns:
    adapter, slot = reply.trees["adapter"], reply.trees.get("fisher", {})
    what = f"Slot 'fisher' of the reply of client {client.name!r}"
    tree.check_same(slot, adapter, what)
    for name, value in slot.items():
        if not bool((value >= 0).all()):
            raise FedloomError(
                f"{what}: tensor {name!r} has an entry that is not at least zero, expected mean squares of gradients."
            )
    return Turns([adapter], [slot], WeightedSum.of(adapter, client.examples))


def _merge(left: Turns, right: Turns) -> Turns:
    return Turns(left.adapters + right.adapters, left.fisher + right.fisher, left.plain.merge(right.plain))


def _merged(total: Turns, cap: float) -> Tree:
    means = total.plain.mean()
    for name, mean in means.items():
        blocks = zip(
            side_by_side([tree[name] for tree in total.adapters]),
            side_by_side([tree[name] for tree in total.fisher]),
            torch.split(mean.flatten(), BLOCK),
            strict=True,
        )
        parts = [_entries(values, capped(fisher, cap), plain) for values, fisher, plain in blocks]
        means[name] = torch.cat(parts).reshape(mean.shape)
    return means


def _entries(values: Tensor, weights: Tensor, plain: Tensor) -> Tensor:
    """Some entries' weighted mean ``[entries]``; ``plain`` where nobody has a weight."""
    weighted, sums = values[0] * weights[0], weights[0].clone()
    for value, weight in zip(values[1:], weights[1:], strict=True):  # one after the other, as they came
        weighted, sums = weighted + weight * value, sums + weight
    found = sums > 0
    return torch.where(found, (weighted / sums.where(found, torch.ones(()).double())).to(plain.dtype), plain)
