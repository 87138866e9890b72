"""How important each triplet of an AdaLoRA adapter is to a client.

A triplet is a row of A ``[r, k]``, an entry of E ``[r, 1]`` and a column of B ``[d, r]`` of one module.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from fedloom.core.contracts import ClientInfo, Local, LocalRun, Parcel, Tree
from fedloom.core.errors import FedloomError

A, E, B = ".lora_A", ".lora_E", ".lora_B"

ALLOCATION = "allocation"
"""The slot of the server's state; in the final rounds a client is sent its masks."""

MASK = "mask/"
"""How the masks in it begin: by module, which triplets are left."""

ROUND = "round"
"""In it: how many rounds there were so far."""

IMPORTANCE = "importance"
"""The slot of a reply with a number for each triplet: its share of the client's importance, in parts of ``WHOLE``, so
that no channel rounds it."""

WHOLE = 2**53

SENSITIVITY, UNCERTAINTY = "sensitivity", "uncertainty"
"""What a client keeps of each entry until its next turn."""


def triplets(adapter: Tree) -> dict[str, int]:
    """How many triplets each module has, in the order of the names."""
    return {name.removesuffix(E): len(adapter[name]) for name in sorted(adapter) if name.endswith(E)}


def client(beta1: float, beta2: float, weight: float, last: int, fits: Callable[[Tree], None]) -> Local:
    """The client half: a term of this weight, what is kept and told of importance, and the server's masks. ``last``:
    the round after which what is left is final; its last step is not noted, as PEFT has it."""

    def after(run: LocalRun) -> None:
        if run.scratch["masks"]:
            _prune(run)
        elif not (run.scratch["closing"] and run.steps + 1 == run.total):
            _note(run, beta1, beta2)

    def send(run: LocalRun) -> dict[str, Tree]:
        return {IMPORTANCE: shares(scores(run.scratch[SENSITIVITY], run.scratch[UNCERTAINTY]))}

    def keep(run: LocalRun) -> dict[str, Tree]:
        return {slot: {name: v.cpu() for name, v in run.scratch[slot].items()} for slot in (SENSITIVITY, UNCERTAINTY)}

    def term(run: LocalRun) -> Tensor:
        return weight * orthogonality(run.theta)

    return Local(
        begin=lambda run: _begin(run, last),
        term=term if weight else None,
        after=after,
        send=send,
        keep=keep,
        fits=fits,
        reveals={IMPORTANCE: "gradients"},
    )


def _begin(run: LocalRun, last: int) -> None:
    """What the server says of the masks, and what the client kept of its entries."""
    told = run.received.trees.get(ALLOCATION, {})
    run.scratch["masks"] = {name: mask for name, mask in told.items() if name.startswith(MASK)}
    run.scratch["closing"] = ROUND in told and int(told[ROUND]) + 1 == last
    for slot in (SENSITIVITY, UNCERTAINTY):
        run.scratch[slot] = {
            name: run.kept.get(slot, {}).get(name, torch.zeros(leaf.shape)).to(leaf.device)
            for name, leaf in run.theta.items()
            if name.endswith((A, E, B))
        }


def _prune(run: LocalRun) -> None:
    """E of what is gone to zero again, wherever the step moved it."""
    for name, mask in run.scratch["masks"].items():
        values = run.theta[name.removeprefix(MASK) + E]
        values.mul_(mask[:, None].to(values))


def _note(run: LocalRun, beta1: float, beta2: float) -> None:
    """Smooth how much the loss depends on each entry, and how unsure that is."""
    smooth, unsure = run.scratch[SENSITIVITY], run.scratch[UNCERTAINTY]
    for name in smooth:
        slope = run.theta[name].grad
        assert slope is not None
        now = (run.theta[name] * slope).abs()
        smooth[name] = beta1 * smooth[name] + (1 - beta1) * now
        unsure[name] = beta2 * unsure[name] + (1 - beta2) * (now - smooth[name]).abs()


def orthogonality(adapter: Mapping[str, Tensor]) -> Tensor:
    """How far the factors are from orthonormal: the mean of ``||A A^T - I||_F`` and ``||B^T B - I||_F`` over all
    modules (arXiv 2303.10512, eq. 4, as PEFT computes it)."""
    parts = []
    for name, value in adapter.items():
        if name.endswith((A, B)):
            gram = value @ value.T if name.endswith(A) else value.T @ value
            parts.append(torch.linalg.norm(gram - torch.eye(len(gram), device=gram.device, dtype=gram.dtype)))
    return torch.stack(parts).mean()


def scores(smooth: Mapping[str, Tensor], unsure: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The importance of each triplet, ``[r]`` by module (arXiv 2303.10512, eq. 9 to 11): with ``s = smooth *
    unsure`` of every entry, that of E, and the means of those of the row of A and the column of B."""
    entries = {name: smooth[name] * unsure[name] for name in smooth}
    modules = sorted(name.removesuffix(E) for name in entries if name.endswith(E))
    return {m: entries[m + E].view(-1) + (entries[m + A].mean(dim=1) + entries[m + B].mean(dim=0)) for m in modules}


def shares(importance: Mapping[str, Tensor]) -> Tree:
    """Importance as whole numbers: parts of ``WHOLE`` that one client has in all. So none counts for more than another
    because its gradients are larger.

    Raises:
        FedloomError: it is not finite.
    """
    found = {module: value.cpu().double() for module, value in importance.items()}  # some devices have no float64
    whole = sum(float(value.sum()) for value in found.values())
    if not math.isfinite(whole):
        raise FedloomError("adapter.kind = 'adalora': the importance of triplets is not finite. Lower client.lr.")
    factor = WHOLE / whole if whole > 0 else 0.0
    return {module: (value * factor).floor().long() for module, value in found.items()}


def checked(reply: Parcel, client: ClientInfo, start: Tree) -> dict[str, Tensor]:
    """A client's shares in float64, ``[r]`` by module, of 1 in all.

    Raises:
        FedloomError: they are none.
    """
    slot: Any = reply.trees.get(IMPORTANCE, {})
    held = triplets(start)
    whole = all(
        value.dtype == torch.int64 and value.shape == (held.get(module),) and bool((value >= 0).all())
        for module, value in slot.items()
    )
    most = 1.001 * WHOLE  # of sums that are rounded
    if slot.keys() != held.keys() or not whole or sum(float(value.double().sum()) for value in slot.values()) > most:
        raise FedloomError(
            f"Slot {IMPORTANCE!r} of the reply of client {client.name!r} holds no shares of importance, expected a "
            f"whole number of {WHOLE} for each triplet of the adapter. Both sides must have the same [adapter]."
        )
    return {module: value.double() / WHOLE for module, value in slot.items()}
