"""A client with an alpha of its own: it trains ``W x + f s B A x`` where everyone else has ``W x + s B A x``.

What travels is ``f B``: replies and the model are of one scale, s, and a client begins at the model that it was sent.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from fedloom.core import lora
from fedloom.core.contracts import Backbone, Parcel, Scaler, Tree
from fedloom.core.errors import FedloomError


@contextmanager
def scaled(backbone: Backbone, factor: float) -> Iterator[None]:
    """While it lasts, every B A counts ``factor`` times as much.

    Raises:
        FedloomError: the backbone cannot.
    """
    if factor == 1:
        yield
        return
    if not isinstance(backbone, Scaler):
        raise FedloomError(
            f"adapter.alpha_from = 'data': {backbone.name!r} is a backbone of your own, without a method 'rescale'. "
            "Give it one, or leave alpha_from out."
        )
    backbone.rescale(factor)
    try:
        yield
    finally:
        backbone.rescale(1.0)


def parcel_times(parcel: Parcel, factor: float) -> Parcel:
    """A parcel with every B times ``factor``: 1 / f on its way into a client's scale, f on its way out of it."""
    return Parcel({slot: times(tree, factor) for slot, tree in parcel.trees.items()}, parcel.facts)


def times(tree: Tree, factor: float) -> Tree:
    """A tree with every B times ``factor``."""
    if factor == 1:
        return tree
    return {name: value * factor if name.endswith(lora.B) else value for name, value in tree.items()}
