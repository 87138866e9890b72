"""What a channel is made of."""

from collections.abc import Callable
from dataclasses import dataclass

from fedloom.core.contracts import Tree


@dataclass(frozen=True)
class Stage:
    """One step of a channel. ``encode(tree, state)`` runs at the sender and may keep what it needs in ``state`` (a
    tree that lives with the sender between rounds); ``decode(tree)`` undoes it at the receiver.

    ``error``: the largest relative error of a decoded value (0: none). ``kind``: a channel has at most one stage of
    each kind (``"format"``: the number format on the wire).
    """

    kind: str
    error: float
    encode: Callable[[Tree, Tree], Tree]
    decode: Callable[[Tree], Tree]
