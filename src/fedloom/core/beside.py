"""A small merge beside a method's own: its replies are lifted twice, and its state has a slot more."""

from dataclasses import dataclass, replace
from typing import Any

from fedloom.core.contracts import Beside, ClientInfo, Method, Parcel, Server, State, Tree
from fedloom.core.errors import FedloomError


@dataclass
class Both:
    """What is merged of the replies so far: by the method itself, and beside it."""

    own: Any
    beside: Any


def attached(method: Method, beside: Beside) -> Method:
    """``method`` with a merge beside its own, which does not see it.

    Both lift the same replies. The state has the slot ``beside.slot`` more, so that a checkpoint holds it; a client's
    parcel has it too where ``beside.send`` gives something. The method is additive where it was.

    Raises:
        FedloomError: the method has such a merge already; of ``init``: its state has that slot.
    """
    slot, reduce, server = beside.slot, method.reduce, method.server
    if slot in (other.slot for other in method.besides):
        raise FedloomError(f"method: slot {slot!r} is merged beside it twice. Fix: leave one of them out.")

    def lift(reply: Parcel, client: ClientInfo, start: Tree) -> Both:
        return Both(reduce.lift(reply, client, start), beside.lift(reply, client, start))

    def merge(left: Both, right: Both) -> Both:
        return Both(reduce.merge(left.own, right.own), beside.merge(left.beside, right.beside))

    def lower(total: Both) -> Parcel:
        own = reduce.lower(total.own)
        return Parcel({**own.trees, slot: beside.lower(total.beside)}, own.facts)

    def init(adapter: Tree, scale: float, clients: int) -> State:
        state = server.init(adapter, scale, clients)
        if slot in state:
            raise FedloomError(f"method: its state has a slot {slot!r} of its own. Fix: do not merge that beside it.")
        return state | {slot: beside.init(adapter)}

    def step(state: State, total: Parcel) -> State:
        own = Parcel({name: tree for name, tree in total.trees.items() if name != slot}, total.facts)
        return server.step(_without(state, slot), own) | {slot: beside.step(state[slot], total.trees[slot])}

    def send(state: State, client: ClientInfo | None) -> Parcel:
        parcel = server.send(_without(state, slot), client)
        told = beside.send(state[slot]) if client else {}
        return Parcel({**parcel.trees, slot: told}, parcel.facts) if told else parcel

    both = replace(reduce, lift=lift, merge=merge, lower=lower, bounded=(*reduce.bounded, *beside.reads))
    return replace(method, reduce=both, server=Server(init, step, send), besides=(*method.besides, beside))


def figures(method: Method, state: State) -> dict[str, dict[str, float]]:
    """What the merges beside a method found, by their slots."""
    found = {beside.slot: beside.figures(state[beside.slot]) for beside in method.besides}
    return {slot: told for slot, told in found.items() if told}


def _without(state: State, slot: str) -> State:
    return {name: tree for name, tree in state.items() if name != slot}


def reads(method: Method) -> set[str]:
    """The slots of a reply that are read beside the method's own merge."""
    return {slot for beside in method.besides for slot in beside.reads}
