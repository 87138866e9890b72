"""Sites that hold data of their own: what they say of it, and what does not go together with them."""

from collections.abc import Sequence
from dataclasses import dataclass

from fedloom.core.config import Experiment
from fedloom.core.errors import FedloomError


@dataclass(frozen=True)
class Holding:
    """What a site says that it holds: training and test examples, and a hash of them."""

    train: int
    test: int
    data: str


def check_sites(experiment: Experiment, sites: Sequence[str], pooled: bool) -> None:
    """Refuse an experiment whose ``sites`` (none: its data is dealt) are not its clients, or whose data the server, or
    a ``pooled`` method, would have to see.

    Raises:
        FedloomError: what does not go together, and the fix.
    """
    clients, name = experiment.scenario.clients, experiment.scenario.name
    if sites and len(sites) != clients:
        raise FedloomError(f"scenario.clients = {clients}, but scenario.names has {len(sites)} sites.")
    if sites and (pooled or experiment.evaluation.where == "server"):
        fix = "Choose another method." if pooled else "Set evaluation.where = 'clients'."
        raise FedloomError(f"scenario {name!r}: the server has no data. {fix}")
