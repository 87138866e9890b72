"""AdaLoRA's budget, spent by the server: which triplets of a federation's adapter are left.

client: sensitivity of every entry, smoothed over its steps  -> slot "importance": a share a triplet
server: mean of the clients' shares; the highest keep their E, all other E are 0  -> slot "allocation"

Tensors keep their shapes: what is pruned is a mask that all share.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fedloom.adapters._importance import ALLOCATION, IMPORTANCE, MASK, ROUND, E, checked, client, triplets
from fedloom.core import beside, compose, needs
from fedloom.core.contracts import (
    Beside,
    ClientInfo,
    Method,
    Parcel,
    Server,
    State,
    Tree,
)
from fedloom.core.errors import FedloomError

MOST = 64
"""Clients of whom the state tells what they would have left: the first that were asked."""

WANTS = "wants/"
"""In the state, beside the masks: by client, how many triplets of each module (in the order of the names) the budget
would leave by its own shares alone, when it was last asked."""


@dataclass(frozen=True)
class Schedule:
    """How many of ``start`` triplets are left after a round: all in the first ``warmup``, ``target`` in the last
    ``final``, and between them as a cubic falls (arXiv 2303.10512, eq. 12), pruned anew after every ``every`` rounds.
    """

    rounds: int
    warmup: int
    final: int
    every: int
    start: int
    target: int

    def budget(self, round: int) -> int | None:
        """Triplets that are left after the round, which counts from 1; ``None``: nothing is pruned after it."""
        last = self.rounds - self.final
        if round >= last:
            return self.target if round == last else None
        if round <= self.warmup or round % self.every:
            return None
        ahead = 1 - (round - self.warmup) / (last - self.warmup)
        return int((self.start - self.target) * ahead**3 + self.target)

    def over(self, round: int) -> bool:
        """Whether what is left is final after this round."""
        return round >= self.rounds - self.final


@dataclass(frozen=True)
class Rule:
    """What an experiment says of the budget. ``budget``: triplets that are left (0: two thirds of them all)."""

    budget: int
    warmup: int | None
    final: int | None
    every: int
    beta1: float
    beta2: float
    orthogonality: float

    def schedule(self, held: Mapping[str, int], rounds: int) -> Schedule:
        """The rule for an adapter with so many triplets in each module, and a run.

        Raises:
            FedloomError: a budget that is less than a triplet a module, or more than there are.
        """
        start = sum(held.values())
        target = self.budget or max(len(held), 2 * start // 3)
        if not len(held) <= target <= start:
            raise FedloomError(
                f"adapter.budget = {target}: the adapter has {start} triplets in {len(held)} layers. Expected from "
                f"{len(held)}, one a layer on average, to {start}; raise adapter.rank for more."
            )
        warmup, final = self.phases(rounds)
        return Schedule(rounds, warmup, final, self.every, start, target)

    def phases(self, rounds: int) -> tuple[int, int]:
        """Rounds before anything is pruned and after all is: what is said, or a fifth and a third of the run.

        Raises:
            FedloomError: they leave no round in which to prune.
        """
        warmup = rounds // 5 if self.warmup is None else self.warmup
        final = (rounds - warmup) // 3 if self.final is None else self.final
        if warmup + final >= rounds:
            raise FedloomError(
                f"adapter.warmup = {warmup} and adapter.final = {final} leave none of the run's {rounds} rounds for "
                "pruning. Expected less than that in all; lower them, or raise rounds."
            )
        return warmup, final


def spend(scores: Mapping[str, Tensor], budget: int) -> dict[str, Tensor]:
    """The ``budget`` triplets of the highest score, exactly; of equal ones, the first by module and number.

    Args:
        scores: ``[r]`` by module.
        budget: how many are left in all.

    Returns:
        Masks ``[r]`` by module.
    """
    order = sorted(scores)
    flat = torch.cat([scores[module].double() for module in order])
    left = torch.zeros(len(flat), dtype=torch.bool)
    left[flat.argsort(descending=True, stable=True)[:budget]] = True
    return dict(zip(order, torch.split(left, [len(scores[module]) for module in order]), strict=True))


def ranks(state: State) -> dict[str, int]:
    """How many triplets each module has left, by the slot ``allocation`` of a server's state."""
    masks = state[ALLOCATION]
    return {name.removeprefix(MASK): int(masks[name].sum()) for name in sorted(masks) if name.startswith(MASK)}


def started(state: State) -> int:
    """How many triplets a module had at the start, the most of any; 0: the state has no budget."""
    return max((len(mask) for name, mask in state.get(ALLOCATION, {}).items() if name.startswith(MASK)), default=0)


def wanted(state: State) -> dict[str, dict[str, int]]:
    """The same by each client's own shares alone, of the clients that were asked."""
    held = state[ALLOCATION]
    return {
        name.removeprefix(WANTS): dict(zip(ranks(state), held[name].tolist(), strict=True))
        for name in sorted(held)
        if name.startswith(WANTS)
    }


def governed(method: Method, rule: Rule, rounds: int) -> Method:
    """``method`` with the budget spent at its server, and the clients' part in it.

    Raises:
        FedloomError: a method under which not all of the adapter is shared, or a schedule longer than the run; of
            ``fits``: a budget that the adapter cannot have.
    """
    last = rounds - rule.phases(rounds)[1]
    if not needs.shares_all(method):
        raise FedloomError(
            "adapter.kind = 'adalora': its budget is spent at the server, on all that clients learn, and the method "
            "has them train or share a part of the adapter alone. Use a method that shares all of it, such as fedavg, "
            "fedprox or fednano; or kind 'lora'."
        )

    def fits(adapter: Tree) -> None:
        rule.schedule(triplets(adapter), rounds)

    own = client(rule.beta1, rule.beta2, rule.orthogonality, last, fits)
    local = compose.compose(method.local, own, names=("the method", "adalora"))
    merged = beside.attached(replace(method, local=local), _merge(rule, rounds))

    def step(state: State, total: Parcel) -> State:
        after = merged.server.step(state, total)
        return after | {"adapter": pruned(after["adapter"], after[ALLOCATION])}

    return replace(merged, server=Server(merged.server.init, step, merged.server.send))


def pruned(adapter: Tree, masks: Tree) -> Tree:
    """The adapter with E zero where a mask says so."""
    found = dict(adapter)
    for name, mask in masks.items():
        if name.startswith(MASK):
            key = name.removeprefix(MASK) + E
            found[key] = adapter[key] * mask[:, None].to(adapter[key])
    return found


@dataclass
class Told:
    """Replies so far: the weighted sum of the clients' shares, the weights, and what each client would have left."""

    shares: dict[str, Tensor]
    weight: float
    wants: Tree


def _merge(rule: Rule, rounds: int) -> Beside:
    def init(adapter: Tree) -> Tree:
        masks = {MASK + module: torch.ones(count, dtype=torch.uint8) for module, count in triplets(adapter).items()}
        return {ROUND: torch.tensor(0), **masks}

    def lift(reply: Parcel, info: ClientInfo, start: Tree) -> Told:
        told = checked(reply, info, start)
        left = spend(told, rule.schedule(triplets(start), rounds).target)
        wants = {WANTS + info.name: torch.stack([left[module].sum() for module in sorted(left)]).to(torch.int16)}
        return Told({module: info.examples * value for module, value in told.items()}, info.examples, wants)

    def merge(left: Told, right: Told) -> Told:
        found = {module: value + right.shares[module] for module, value in left.shares.items()}
        return Told(found, left.weight + right.weight, left.wants | right.wants)

    def lower(total: Told) -> Tree:
        return {module: value / total.weight for module, value in total.shares.items()} | total.wants

    def step(before: Tree, total: Tree) -> Tree:
        round = int(before[ROUND]) + 1
        after = before | {ROUND: torch.tensor(round)}
        held = {name.removeprefix(MASK): mask for name, mask in before.items() if name.startswith(MASK)}
        schedule = rule.schedule({module: len(mask) for module, mask in held.items()}, rounds)
        if round > rounds - schedule.final:
            return after
        known = [name for name in before if name.startswith(WANTS)]
        told = sorted(name for name in total if name.startswith(WANTS) and name not in known)
        after |= {name: total[name] for name in [*known, *told][:MOST] if name in total}
        budget = schedule.budget(round)
        if budget is None:
            return after | {MASK + module: torch.ones_like(mask) for module, mask in held.items()}
        left = spend({module: total[module] for module in held}, budget)
        return after | {MASK + module: mask.to(torch.uint8) for module, mask in left.items()}

    def send(state: Tree) -> Tree:
        masks = {name: mask for name, mask in state.items() if name.startswith(MASK)}
        schedule = rule.schedule({name: len(mask) for name, mask in masks.items()}, rounds)
        return {ROUND: state[ROUND]} | (masks if schedule.over(int(state[ROUND])) else {})

    def figures(state: Tree) -> dict[str, float]:
        return {module: float(left) for module, left in ranks({ALLOCATION: state}).items()}

    return Beside(ALLOCATION, init, lift, merge, lower, step, send, figures, reads=(IMPORTANCE,))
