"""What every sampling must satisfy; a new file is found by itself."""

import pytest

from fedloom.core import resolve
from fedloom.core.contracts import ClientInfo, Sampler
from fedloom.core.seeds import Seeds

CLIENTS = [ClientInfo(str(number), number + 1, 1) for number in range(7)]


@pytest.mark.parametrize("name", sorted(resolve.known("sampling")))
def test_a_cohort_is_clients_in_their_order_and_the_same_for_a_seed(name: str) -> None:
    sampler: Sampler = resolve.build("sampling", name, {}, fraction=0.5)
    for number in range(1, 20):
        cohort = sampler(CLIENTS, number, Seeds(0).numpy(f"round/{number}"))
        places = [CLIENTS.index(client) for client in cohort]
        assert places
        assert places == sorted(set(places))
        assert cohort == sampler(CLIENTS, number, Seeds(0).numpy(f"round/{number}"))
