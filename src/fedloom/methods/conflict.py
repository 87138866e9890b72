"""Federated averaging that counts where clients disagree on a sign."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fedloom.core import beside, lora, tree
from fedloom.core.contracts import Beside, ClientInfo, Method, Parcel, Tree
from fedloom.methods.fedavg import fedavg

CONFLICT = "conflict"
"""The slot of the server's state, and of a round's figures."""

OF = ("adapter", "change")


@dataclass
class Signs:
    """Of each tensor of the replies so far, and of its change: which entries are above zero at a client, and below."""

    above: dict[str, Tree]
    below: dict[str, Tree]


def conflict() -> Method:
    """FedAvg, with the conflict rate in each round's record: the share of entries of which clients have both signs.

    YOCO (NeurIPS 2025), whose lemma has the expected length of the merged update grow, and its variance fall, as it
    falls: with x_k an entry at client k::

        C = share of the entries with x_j > 0 and x_k < 0 for some clients j and k

    It is counted twice, of the adapters as they are (``adapter``) and of what the turn changed (``change``), over all
    tensors that are shared. Nothing else happens, so ``method.with = ["conflict"]`` counts it beside any merge. The
    figures stand in ``rounds.jsonl`` under ``figures.conflict``. Entries that two clients have are enough, so C grows
    with the cohort: compare it between runs of one cohort size. Components that a lower rank lacks have no sign.
    """
    return beside.attached(fedavg(), counted())


def counted() -> Beside:
    """The conflict rate, beside any merge."""

    def init(adapter: Tree) -> Tree:
        return {name: torch.zeros((), dtype=torch.float64) for name in OF}

    def figures(state: Tree) -> dict[str, float]:
        return {name: float(state[name]) for name in OF}

    return Beside(CONFLICT, init, _lift, _merge, _lower, lambda before, now: before | now, lambda state: {}, figures)


def _lift(reply: Parcel, client: ClientInfo, start: Tree) -> Signs:
    seen = {"adapter": reply.trees["adapter"], "change": tree.sub(reply.trees["adapter"], start)}
    above = {what: {name: value > 0 for name, value in found.items()} for what, found in seen.items()}
    below = {what: {name: value < 0 for name, value in found.items()} for what, found in seen.items()}
    return Signs(above, below)


def _merge(left: Signs, right: Signs) -> Signs:
    return Signs(*({what: _either(mine[what], other[what]) for what in OF} for mine, other in _halves(left, right)))


def _halves(left: Signs, right: Signs) -> tuple[tuple[dict[str, Tree], dict[str, Tree]], ...]:
    return (left.above, right.above), (left.below, right.below)


def _either(left: Tree, right: Tree) -> Tree:
    left, right = lora.level(left, right)
    tree.check_same(right, left, "A client's reply")
    return {name: value | right[name] for name, value in left.items()}


def _lower(total: Signs) -> Tree:
    found: Tree = {}
    for what in OF:
        pairs = [(total.above[what][name], total.below[what][name]) for name in total.above[what]]
        if count := sum(above.numel() for above, _ in pairs):
            both: list[Tensor] = [(above & below).sum() for above, below in pairs]
            found[what] = torch.stack(both).sum().double() / count
    return found
