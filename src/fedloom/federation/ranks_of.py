"""What an experiment's table says of its clients' ranks, checked, and the methods that take several."""

from collections.abc import Callable, Mapping, Sequence

from fedloom.core import ranks, resolve
from fedloom.core.contracts import Method, Tree
from fedloom.core.errors import FedloomError
from fedloom.core.partition import Partition
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
    if table.alpha_from == "data" and table.min_alpha > table.alpha:
        raise FedloomError(
            f"adapter.min_alpha = {table.min_alpha} is more than adapter.alpha = {table.alpha}. Lower it, or raise "
            "alpha."
        )
    if table.min_alpha and table.alpha_from != "data":
        raise FedloomError(
            f"adapter.min_alpha = {table.min_alpha} is read where adapter.alpha_from = 'data', but it is "
            f"{table.alpha_from!r}. Change it, or leave adapter.min_alpha out."
        )
    if table.normalised and "data" not in (table.rank_from, table.alpha_from):
        raise FedloomError(
            "adapter.normalised = true is read where adapter.rank_from or adapter.alpha_from is 'data', and neither "
            "is. Set one of them, or leave adapter.normalised out."
        )


def listed(experiment: Experiment) -> list[int]:
    """Each client's rank where ``adapter.ranks`` lists them.

    Raises:
        FedloomError: keys of the table that contradict each other, or different ranks where the adapter starts from the
            weights.
    """
    table = experiment.adapter
    check(table)
    given = table.ranks or [table.rank]
    return _started(table, [given[number % len(given)] for number in range(experiment.scenario.clients)])


def found(
    experiment: Experiment,
    metas: Sequence[Mapping[str, str]] | None,
    held: Callable[[], Partition],
    adapter: Callable[[], Tree],
) -> list[int]:
    """Each client's rank where its budget or its data decides: ``metas`` of the training half (``None``: at sites), of
    which each client has what ``held`` says; ``adapter`` has the largest rank.

    Raises:
        FedloomError: as ``listed``, or a rank that cannot be.
    """
    table = experiment.adapter
    check(table)
    if metas is None:
        raise FedloomError(f"adapter.rank_from = {table.rank_from!r}: no server sees the sites' data. Give ranks.")
    if table.rank_from == "budget":
        return _started(table, ranks.from_budgets(adapter(), table.budgets, held().names, table.rank))
    counts = ranks.label_counts(held().train, metas, table.rank_by)
    return _started(table, ranks.from_data(counts, table.min_rank, table.rank, table.normalised))


def factors(table: AdapterTable, held: Sequence[int]) -> list[float]:
    """Each client's alpha over the table's; ``held``: how many examples each has.

    Raises:
        FedloomError: an alpha would be 0.
    """
    if table.alpha_from != "data":
        return [1.0] * len(held)
    return [found / table.alpha for found in ranks.alphas(held, table.min_alpha, table.alpha, table.normalised)]


def _started(table: AdapterTable, each: list[int]) -> list[int]:
    """The ranks, which are one where the adapter starts from the weights."""
    drawn = table.rank if table.rank_from == "budget" else max(each)
    if table.init != "kaiming" and set(each) != {drawn}:
        raise FedloomError(
            f"adapter.init = {table.init!r}: the clients have ranks {each}, but the start has the {drawn} largest "
            "directions, which only an adapter of that rank holds. Set adapter.init = 'kaiming', or give every "
            f"client rank {drawn}."
        )
    return each


def check_method(experiment: Experiment, method: Method, each: Sequence[int]) -> None:
    """Refuse clients of different ranks under a method that cannot merge them, or that may cut them where the adapter
    starts from the weights."""
    name = experiment.method.name
    if len(set(each)) > 1 and not (method.mixed_ranks or method.pooled):
        raise FedloomError(
            f"adapter: the clients have ranks {list(each)}, but {name!r} cannot merge adapters of different rank. Use "
            f"{_mergers()}, or give every client the same rank."
        )
    own = experiment.adapter.alpha_from == "data"
    if own and not (method.mixed_scales or method.pooled):
        raise FedloomError(
            f"adapter.alpha_from = 'data': {name!r} cannot merge adapters of different alpha. Use fdylora, or leave "
            "adapter.alpha_from out."
        )
    if own and method.local.personal:
        raise FedloomError(
            f"adapter.alpha_from = 'data': {experiment.method.title!r} has clients keep an adapter of their own, which "
            "has the table's alpha. Leave one of the two out."
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
