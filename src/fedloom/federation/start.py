"""What a turn begins from: everyone's start adapter, over it what the client kept, over that what the server sent.

whole    initial | kept | sent   what a client trains and answers with; the global model, where nothing is kept
shared   the shared part of it   what a reply is the change of, and what a channel codes against

Who trains, who answers and who opens replies make it here, so that all have the same bits.
"""

from collections.abc import Mapping
from types import MappingProxyType

from fedloom.core import tree as trees
from fedloom.core.contracts import ClientInfo, Method, Parcel, Tree
from fedloom.core.errors import FedloomError
from fedloom.federation.checkpoints import START
from fedloom.federation.setup import Setup

NOTHING: Mapping[str, Tree] = MappingProxyType({})
"""No slots: nothing was sent, or kept."""


def whole_start(initial: Tree, method: Method, sent: Parcel, kept: Mapping[str, Tree] = NOTHING) -> Parcel:
    """The whole adapter in the slot ``adapter``, beside the other slots of what was ``sent``, out of the channel.

    ``initial``: everyone's start adapter, in the rank of who begins. ``kept``: what a client kept, slot by slot.
    """
    own, shared = kept.get("adapter", {}), trees.select(sent.trees.get("adapter", {}), method.shares)
    return Parcel({**sent.trees, "adapter": initial | own | shared}, sent.facts)


def shared_start(setup: Setup, info: ClientInfo, sent: Mapping[str, Tree] = NOTHING) -> Tree:
    """The shared part of a client's start: of everyone's start adapter in the client's rank, with what it was ``sent``,
    out of the channel and slot by slot, in its place."""
    return trees.select(setup.start(info), setup.method.shares) | sent.get("adapter", {})


def received(setup: Setup, info: ClientInfo, coded: Mapping[str, Tree]) -> dict[str, Tree]:
    """The slots of a server's parcel as a client has them: out of the channel."""
    like = shared_start(setup, info)
    return {slot: setup.down.decode(tree, like) for slot, tree in coded.items()}


def own_model(
    setup: Setup, initial: Tree, sent: Parcel, kept: Mapping[str, Tree] = NOTHING
) -> tuple[Tree, Tree | None]:
    """Adapter and change to the base of a client's own model; the arguments are those of ``whole_start``."""
    whole = whole_start(initial, setup.method, sent, kept)
    if setup.method.local.personal:
        return setup.method.local.personal.model(whole, kept.get("personal"), setup.scale)
    return whole.trees["adapter"], whole.trees.get("base")


def begin_from(setup: Setup, start: Tree) -> None:
    """Have everyone start from ``start`` where it decides, which is the clients' first update; ``{}``: as drawn."""
    given = dict(start)
    setup.begun.clear()
    setup.begun.update(given)


def tell_start(setup: Setup, parcel: Parcel, told: bool) -> None:
    """Put the start adapter into a parcel for a client, where it is more than drawn: its hash, and, unless the client
    was ``told`` already, the tensors."""
    if setup.begun:
        parcel.facts[START] = trees.fingerprint(setup.begun)
        if not told:
            parcel.trees[START] = setup.begun


def take_start(setup: Setup, parcel: Parcel, kept: Mapping[str, Tree]) -> Tree:
    """Take out of a parcel what ``tell_start`` put there, and begin from it, or from what was kept of it; returns it.

    Raises:
        FedloomError: the server means another start adapter than is here.
    """
    start, wanted = parcel.trees.pop(START, kept.get(START, {})), parcel.facts.pop(START, "")
    if (trees.fingerprint(start) if start else "") != wanted:
        raise FedloomError("the start adapter that came with an earlier round is no longer here. Begin a new run.")
    begin_from(setup, start)
    return start
