"""What clients changed, seen from where each of them began."""

from dataclasses import replace
from typing import Any

from fedloom.core import tree
from fedloom.core.contracts import ClientInfo, Parcel, Reduce, Tree


def with_change(reduce: Reduce) -> Reduce:
    """``reduce`` on replies that have a further slot ``change``: ``theta_k - start_k``.

    ``start_k`` is what client k began from, as it came out of the channel: with a lossy ``channel.down`` that is not
    the server's own adapter, and the difference of the two is no work of the client's.
    """

    def lift(reply: Parcel, client: ClientInfo, start: Tree) -> Any:
        change = tree.sub(reply.trees["adapter"], start)
        return reduce.lift(Parcel({**reply.trees, "change": change}, reply.facts), client, start)

    return replace(reduce, lift=lift)
