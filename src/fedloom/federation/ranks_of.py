"""What an experiment's table says of its clients' ranks, checked, and the methods that take several."""

from collections.abc import Sequence

from fedloom.core import resolve
from fedloom.core.contracts import Method
from fedloom.core.errors import FedloomError
from fedloom.core.tables import AdapterTable, Experiment


def check(table: AdapterTable) -> None:
    """Refuse keys about ranks that ``rank_from`` does not read, or that it lacks."""
    for source, key, given in (("list", "ranks", table.ranks), ("budget", "budgets", table.budgets)):
        if given and table.rank_from != source:
            raise FedloomError(
                f"adapter.{key} = {given} is read where adapter.rank_from = {source!r}, but it is "
                f"{table.rank_from!r}. Change it, or leave adapter.{key} out."
            )
    if table.rank_from == "budget" and not table.budgets:
        raise FedloomError("adapter.rank_from = 'budget' needs adapter.budgets: megabytes, such as [0.1, 0.4].")
    if table.rank_from == "data" and table.min_rank > table.rank:
        raise FedloomError(
            f"adapter.min_rank = {table.min_rank} is more than adapter.rank = {table.rank}. Lower it, or raise rank."
        )


def check_method(experiment: Experiment, method: Method, ranks: Sequence[int]) -> None:
    """Refuse clients of different ranks under a method that cannot merge them, or that may cut them where the adapter
    starts from the weights."""
    name = experiment.method.name
    if len(set(ranks)) > 1 and not (method.mixed_ranks or method.pooled):
        raise FedloomError(
            f"adapter: the clients have ranks {list(ranks)}, but {name!r} cannot merge adapters of different rank. Use "
            f"{_mergers()}, or give every client the same rank."
        )
    if method.local.rank and experiment.adapter.init == "svd":
        raise FedloomError(
            f"adapter.init = 'svd': {name!r} lets clients cut their ranks, but the weights go without directions that "
            "only an adapter of full rank gives back. Set adapter.init = 'kaiming', or method.gamma = 1, with which no "
            "rank is cut."
        )


def _mergers() -> str:
    """The methods that can merge adapters of different rank, in words."""
    names = [n for n in sorted(resolve.known("methods")) if resolve.build("methods", n, {}, seed=0).mixed_ranks]
    return f"{', '.join(names[:-1])} or {names[-1]}"
