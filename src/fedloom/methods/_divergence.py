"""How far clients of different modality drew apart in each layer, measured beside any merge."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fedloom.core import layers, lora, tree
from fedloom.core.contracts import Beside, ClientInfo, LocalRun, Parcel, Tree
from fedloom.core.errors import FedloomError

DIVERGENCE = "layerwise"
"""The slot of the server's state, and of what it sends down."""

MODALITY = "modality"
"""The slot of a reply in which a client tells which share of its examples has which modalities."""

GROUPS = ("image+text", "image", "text", "neither")

ROUNDS = "rounds"
"""What the state counts: rounds in which something was measured."""


@dataclass
class Apart:
    """Replies so far. ``sums``: of each group, the sum of the weighted changes, float64. ``weights``: of each group.
    ``squares``: of each layer, the weighted sum of the squared lengths of the changes."""

    sums: dict[str, Tree]
    weights: dict[str, float]
    squares: dict[str, float]


def tell(run: LocalRun) -> dict[str, Tree]:
    """The client's shares; of a turn whose examples nobody counted, no modality is known."""
    shares = run.modalities or {"neither": 1.0}
    return {MODALITY: {group: torch.tensor(shares.get(group, 0.0), dtype=torch.float64) for group in GROUPS}}


def divergence(memory: float) -> Beside:
    """The share of each layer's mean squared change that lies between the groups (see ``layerwise``)."""

    def init(adapter: Tree) -> Tree:
        order = layers.labels(adapter)
        return {ROUNDS: torch.tensor(0), **{label: torch.zeros((), dtype=torch.float64) for label in order}}

    def step(before: Tree, total: Tree) -> Tree:
        if not total:
            return before
        old = memory if int(before[ROUNDS]) else 0.0
        moved = {label: old * before[label] + (1 - old) * value for label, value in total.items()}
        return before | moved | {ROUNDS: before[ROUNDS] + 1}

    def send(state: Tree) -> Tree:
        return {"divergence": torch.stack([state[label] for label in _in_order(state)]).float()}

    def figures(state: Tree) -> dict[str, float]:
        return {label: float(state[label]) for label in _in_order(state)}

    return Beside(DIVERGENCE, init, _lift, _merge, _lower, step, send, figures, reads=(MODALITY,))


def _in_order(state: Tree) -> list[str]:
    """The layers of a state, as ``layers.labels`` has them, whatever a checkpoint made of their order."""

    def place(label: str) -> layers.Layer:
        return layers.layer(label) if label != layers.label(layers.REST) else layers.REST

    return sorted((label for label in state if label != ROUNDS), key=place)


def _lift(reply: Parcel, client: ClientInfo, start: Tree) -> Apart:
    shares = _shares(reply, client)
    change = {name: value.double() for name, value in tree.sub(reply.trees["adapter"], start).items()}
    squares: dict[str, float] = {}
    for name, value in change.items():
        label = layers.label(layers.layer(name))
        squares[label] = squares.get(label, 0.0) + client.examples * float(value.square().sum())
    weights = {group: client.examples * share for group, share in shares.items()}
    sums = {group: {name: weight * value for name, value in change.items()} for group, weight in weights.items()}
    return Apart(sums, weights, squares)


def _merge(left: Apart, right: Apart) -> Apart:
    for group, mine in left.sums.items():
        left.sums[group] = _added(mine, right.sums[group])
        left.weights[group] += right.weights[group]
    labels = left.squares.keys() | right.squares.keys()
    left.squares = {label: left.squares.get(label, 0.0) + right.squares.get(label, 0.0) for label in sorted(labels)}
    return left


def _added(left: Tree, right: Tree) -> Tree:
    """The sum of two changes; of different ranks, components that one of them lacks count as not moved."""
    left, right = lora.level(left, right)
    tree.check_same(right, left, "A client's change")
    return {name: value.add_(right[name]) for name, value in left.items()}


def _lower(total: Apart) -> Tree:
    """What was measured, by layer: nothing where all clients are of one group, or a layer did not move."""
    present = [group for group, weight in total.weights.items() if weight > 0]
    if len(present) < 2:
        return {}
    whole = sum(total.weights[group] for group in present)
    between: dict[str, Tensor] = {}
    for name in total.sums[present[0]]:
        parts = [total.sums[group][name] for group in present]
        inner = sum(part.square().sum() / total.weights[group] for part, group in zip(parts, present, strict=True))
        label = layers.label(layers.layer(name))
        found = inner - torch.stack(parts).sum(0).square().sum() / whole
        between[label] = between.get(label, torch.zeros((), dtype=torch.float64)) + found
    moved = {label: value for label, value in between.items() if total.squares[label] > 0}
    return {label: (value / total.squares[label]).clamp(0.0, 1.0) for label, value in moved.items()}


def _shares(reply: Parcel, client: ClientInfo) -> dict[str, float]:
    """The shares that a client tells.

    Raises:
        FedloomError: they are not there, or no shares.
    """
    slot = reply.trees.get(MODALITY, {})
    found = {name: value.item() for name, value in slot.items() if value.is_floating_point() and value.ndim == 0}
    sound = found.keys() == slot.keys() == set(GROUPS) and all(0 <= value <= 1 for value in found.values())
    if not sound or not abs(sum(found.values()) - 1) < 1e-3:
        raise FedloomError(
            f"Slot {MODALITY!r} of the reply of client {client.name!r} holds {found}, expected shares of "
            f"{', '.join(GROUPS)} that sum to 1. Both sides must use layerwise with the same options."
        )
    return {group: found[group] for group in GROUPS}
