"""A client's optimiser: made anew for a turn, or with the state that it had at the end of the last."""

import torch

from fedloom.core.contracts import Tree
from fedloom.core.tables import ClientTable

SLOT = "optimiser."
"""What the slots begin with in which a client keeps it: one for each of its quantities, with a tensor a leaf."""


def make(leaves: Tree, table: ClientTable, lr: float, kept: dict[str, Tree] | None = None) -> torch.optim.Optimizer:
    """The optimiser of ``leaves`` that ``table`` names.

    Args:
        leaves: live tensors by name.
        table: the client's training.
        lr: the rate of this round, whatever that of the last one was.
        kept: slots as ``state`` gives them; without them it begins anew.
    """
    tensors = list(leaves.values())
    made: torch.optim.Optimizer
    if table.optimizer == "sgd":
        made = torch.optim.SGD(tensors, lr=lr, weight_decay=table.weight_decay)
    elif table.optimizer == "adamax":  # Kingma and Ba 2015, algorithm 2; the decay is part of the gradient
        first, second = table.betas
        made = torch.optim.Adamax(tensors, lr=lr, betas=(first, second), weight_decay=table.weight_decay)
    else:
        first, second = table.betas
        made = torch.optim.AdamW(tensors, lr=lr, betas=(first, second), weight_decay=table.weight_decay)
    state: dict[int, Tree] = {}
    for slot, tree in (kept or {}).items():
        if slot.startswith(SLOT):
            for number, name in enumerate(leaves):
                if name in tree:
                    state.setdefault(number, {})[slot.removeprefix(SLOT)] = tree[name]
    if state:
        made.load_state_dict({**made.state_dict(), "state": state})
    return made


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Have the next step be taken with a rate."""
    for group in optimiser.param_groups:
        group["lr"] = rate


def state(optimiser: torch.optim.Optimizer, leaves: Tree) -> dict[str, Tree]:
    """What ``make`` takes for ``kept``; nothing for an optimiser that has no state."""
    slots: dict[str, Tree] = {}
    for name, leaf in leaves.items():
        for quantity, value in optimiser.state.get(leaf, {}).items():
            if isinstance(value, torch.Tensor):
                slots.setdefault(SLOT + quantity, {})[name] = value.detach().cpu().clone()
    return slots
