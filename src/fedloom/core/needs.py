"""What a method needs of an adapter, against the adapter that an experiment has."""

from collections.abc import Callable

from fedloom.core import resolve
from fedloom.core.contracts import Adapter, Method, Need, everything
from fedloom.core.errors import FedloomError
from fedloom.core.tables import Experiment

MET: dict[Need, tuple[str, str, Callable[[Adapter], bool]]] = {
    "any": ("any adapter", "lora", lambda adapter: True),
    "pairs": ("LoRA pairs", "lora", lambda adapter: adapter.pairs),
    "products": ("LoRA pairs with nothing between B and A", "lora", lambda a: a.pairs and not a.squares),
    "weights": (
        "LoRA pairs beside weights, into which B A can be merged",
        "lora",
        lambda a: a.pairs and not a.squares and not a.codes,
    ),
    "squares": ("LoRA pairs with an R between B and A", "lora-sb", lambda adapter: adapter.pairs and adapter.squares),
}
"""What is needed, in words; a kind that has it; and whether an adapter does."""


def check(experiment: Experiment, method: Method, adapter: Adapter) -> None:
    """Refuse a method whose rule cannot be applied to the adapter, and clients' own ranks where nothing has a rank.

    Raises:
        FedloomError: naming method and kind, and what would fit.
    """
    table, kind = experiment.adapter, experiment.adapter.kind
    words, other, met = MET[method.needs]
    if not met(adapter):
        raise FedloomError(
            f"method {experiment.method.title!r} needs {words}, which adapter.kind = {kind!r} does not have. Fix: set "
            f"adapter.kind = {other!r}, or use a method that takes this kind: {', '.join(_others(adapter))}."
        )
    if not adapter.pairs and (table.rank_from != "list" or len(set(table.ranks)) > 1):
        given = f"ranks = {table.ranks}" if table.rank_from == "list" else f"rank_from = {table.rank_from!r}"
        raise FedloomError(
            f"adapter.{given}: clients differ in the rank of their LoRA pairs, and adapter.kind = {kind!r} has none. "
            "Fix: leave it out, or set adapter.kind = 'lora'."
        )
    if table.fully and not (method.shares is everything and method.trains is everything):
        raise FedloomError(
            f"adapter.fully = {table.fully}: method {experiment.method.title!r} trains or shares a part of the pairs "
            "alone, and these parameters would not reach the others. Fix: leave it out, or use a method that shares "
            "all of it, such as fedavg."
        )
    if table.alpha_from == "data" and (not adapter.pairs or adapter.codes):
        raise FedloomError(
            f"adapter.alpha_from = 'data': clients differ in the alpha of pairs beside layers, and adapter.kind = "
            f"{kind!r} has none. Fix: leave it out, or set adapter.kind = 'lora'."
        )


def shares_all(method: Method) -> bool:
    """Whether all that clients learn reaches a method's server, as what is to govern the adapter there needs."""
    return method.shares is everything and method.trains is everything and not method.local.personal


def _others(adapter: Adapter) -> list[str]:
    """The methods that ship and take an adapter."""
    methods = {name: resolve.build("methods", name, {}, seed=0) for name in sorted(resolve.known("methods"))}
    met = {name: method for name, method in methods.items() if MET[method.needs][2](adapter)}
    return [name for name, method in met.items() if not adapter.governs or shares_all(method)]
