"""What FedNano's two methods are made of: both estimates of a Fisher information, and the merge they weigh."""

from dataclasses import dataclass

import torch

from fedloom.core import tree
from fedloom.core.contracts import ClientInfo, Local, LocalRun, Method, Parcel, Reduce, Tree
from fedloom.core.errors import FedloomError
from fedloom.core.tree import WeightedSum
from fedloom.methods._common import replace_server


@dataclass
class Merged:
    """Replies so far, in float64: ``sum_k F_k theta_k``, ``sum_k F_k``, and the plain example-weighted mean."""

    weighted: Tree
    fisher: Tree
    plain: WeightedSum


def by_fisher(local: Local) -> Method:
    """The mean of the clients' adapters, each entry weighted by the client's slot ``fisher``, which ``local`` sends::

        theta = sum_k F_k theta_k / sum_k F_k

    An entry whose Fisher is zero at every client is their plain mean, weighted by examples; otherwise a client counts
    by its Fisher alone. ``lift`` refuses a Fisher whose names or shapes are not the adapter's, or that is negative.
    """
    return Method(Reduce(_lift, _merge, _lower, additive=True), replace_server(), local)


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


def _lift(reply: Parcel, client: ClientInfo, start: Tree) -> Merged:
    adapter, slot = reply.trees["adapter"], reply.trees.get("fisher", {})
    what = f"Slot 'fisher' of the reply of client {client.name!r}"
    tree.check_same(slot, adapter, what)
    for name, value in slot.items():
        if not bool((value >= 0).all()):
            raise FedloomError(
                f"{what}: tensor {name!r} has an entry that is not at least zero, expected mean squares of gradients."
            )
    weights = {name: value.to(torch.float64, copy=True) for name, value in slot.items()}
    weighted = {name: weights[name] * value.double() for name, value in adapter.items()}
    return Merged(weighted, weights, WeightedSum.of(adapter, client.examples))


def _merge(left: Merged, right: Merged) -> Merged:
    left.plain.merge(right.plain)
    for name, value in left.weighted.items():
        value.add_(right.weighted[name])
        left.fisher[name].add_(right.fisher[name])
    return left


def _lower(total: Merged) -> Parcel:
    means = total.plain.mean()
    for name, mean in means.items():
        found = total.fisher[name] > 0
        merged = total.weighted[name] / total.fisher[name].where(found, torch.ones(()).double())
        means[name] = torch.where(found, merged.to(mean.dtype), mean)
    return Parcel({"adapter": means})
