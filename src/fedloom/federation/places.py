"""Sites that hold data of their own: what they say of it, and what does not go together with them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fedloom.core.config import Experiment
from fedloom.core.contracts import Data
from fedloom.core.errors import FedloomError
from fedloom.core.partition import Partition


@dataclass(frozen=True)
class Holding:
    """What a site says that it holds: training and test examples, and a hash of them."""

    train: int
    test: int
    data: str = ""

    @classmethod
    def of(cls, data: Data) -> "Holding":
        """The holding of whoever has this data, without its hash."""
        return cls(len(data.train), len(data.test))


def of_sites(held: Mapping[str, Holding]) -> Partition:
    """Who holds what, as indices into the site's own data: each site all of it."""
    found = held.values()
    return Partition([[*range(one.train)] for one in found], [[*range(one.test)] for one in found], [*held])


def check_sites(experiment: Experiment, sites: Sequence[str], pooled: bool) -> None:
    """Refuse an experiment whose ``sites`` (none: its data is dealt) are not its clients, or whose data the server, or
    a ``pooled`` method, would have to see.

    Raises:
        FedloomError: what does not go together, and the fix.
    """
    clients, name = experiment.scenario.clients, experiment.scenario.name
    if sites and len(sites) != clients:
        raise FedloomError(f"scenario.clients = {clients}, but scenario.names has {len(sites)} sites.")
    if sites and experiment.adapter.alpha_from == "data":
        raise FedloomError("adapter.alpha_from = 'data': no site knows how much the others hold. Leave it out.")
    if sites and (pooled or experiment.evaluation.where == "server"):
        fix = "Choose another method." if pooled else "Set evaluation.where = 'clients'."
        raise FedloomError(f"scenario {name!r}: the server has no data. {fix}")
