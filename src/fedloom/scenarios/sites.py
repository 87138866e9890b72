"""Every site trains on data of its own, which no server sees."""

import numpy as np

from fedloom.core.contracts import Scenario
from fedloom.core.errors import FedloomError
from fedloom.core.files import sites_error


def sites(names: list[str]) -> Scenario:
    """Every site of ``names`` trains on what it holds itself, whatever that is; nothing is dealt.

    Raises:
        FedloomError: no names, one twice or in another case, or one that is no site's.
    """
    if wrong := sites_error(names) or ("" if names else "expected the names of the sites, each once."):
        raise FedloomError(f"scenario.names = {names}: {wrong}")
    return Scenario(by=None, proportions=_dealt, sites=tuple(names))


def _dealt(sizes: np.ndarray, clients: int, rng: np.random.Generator) -> np.ndarray:
    raise FedloomError("scenario 'sites': the data is at the sites; nothing can be dealt. Set engine.name = 'flower'.")
