"""Adapters of different ranks, averaged component by component over the clients that have it."""

from typing import Literal

import torch

from fedloom.core import lora
from fedloom.core.contracts import ClientInfo, Local, LocalRun, Method, Parcel, Reduce, Server, State, Tree
from fedloom.core.errors import FedloomError
from fedloom.methods import _levels
from fedloom.methods._common import number, only_pairs

ALIKE = 0.95
"""With ``edit = "mix"``, a tensor of this cosine or more is left as it is."""


def fedilora(edits: int = 1, edit: Literal["replace", "mix"] = "replace") -> Method:
    """A and B of any ranks, each component averaged over the clients that have it; clients edit their odd layers.

    FediLoRA, arXiv 2509.06984, as read in its released code. For component i (row i of A, column i of B), with r_k
    client k's rank and p_k its share of the examples::

        A[i] = sum over r_k > i of p_k A_k[i] / sum over r_k > i of p_k                    B[:, i] likewise

    where ``hetlora`` divides by the weight of all, so that components which few clients have shrink. Client k gets the
    first r_k. Components beyond the largest rank of a round's clients stay as they were. Other tensors are averaged by
    training examples.

    Editing: after its turn, from the second round on, a client compares each of its A with the global one that it began
    from, by the cosine c of the flattened tensors, and gives up the ``edits`` least similar: ``"replace"`` puts the
    global one in their place. ``"mix"`` is what the released script calls, ``c own + (1 - c) global`` where c < 0.95.
    Only A are edited; the script's variant for several tensors ranks B as well. That clients edit before they send, and
    not what they receive, is not confirmed. ``edits = 0`` is without.

    Raises:
        FedloomError: edits below 0, an unknown edit; of ``init``: a tensor R between B and A.
    """
    number("fedilora: edits", edits, least=0)
    if edit not in ("replace", "mix"):
        raise FedloomError(f"fedilora: edit is {edit!r}, expected replace or mix.")

    def init(adapter: Tree, scale: float, clients: int) -> State:
        only_pairs("fedilora", adapter)
        return {"adapter": adapter, "counters": {"round": torch.tensor(0)}}

    def step(state: State, total: Parcel) -> State:
        adapter = state["adapter"] | lora.over(state["adapter"], total.trees["adapter"])
        return {"adapter": adapter, "counters": {"round": state["counters"]["round"] + 1}}

    def send(state: State, client: ClientInfo | None) -> Parcel:
        if client is None:
            return Parcel({"adapter": state["adapter"]})
        facts: dict[str, float | int | str] = {"rounds": int(state["counters"]["round"])}
        return Parcel({"adapter": lora.truncate(state["adapter"], client.rank)}, facts)

    def end(run: LocalRun) -> None:
        if run.received.facts.get("rounds"):
            _edit(run, edits, edit)

    reduce = Reduce(_levels.lift, _levels.merge, _lower, additive=True)
    local = Local(end=end) if edits else Local()
    return Method(reduce, Server(init, step, send), local, mixed_ranks=True, needs="products")


def _edit(run: LocalRun, edits: int, edit: str) -> None:
    """Give up the A that are least like those that the client began from."""
    cosines = {}
    for name, own in run.theta.items():
        if name.endswith(lora.A) and own.requires_grad:
            pair = own.flatten().double(), run.start[name].to(own.device).flatten().double()
            cosines[name] = float(torch.nn.functional.cosine_similarity(*pair, dim=0))
    for name in sorted(cosines, key=lambda name: (cosines[name], name))[:edits]:
        own, begun = run.theta[name], run.start[name].to(run.theta[name].device)
        if edit == "replace":
            own.copy_(begun)
        elif cosines[name] < ALIKE:
            own.copy_((1 - cosines[name]) * begun + cosines[name] * own)


def _lower(total: _levels.Levels) -> Parcel:
    return _levels.mean(total, total.weights)
