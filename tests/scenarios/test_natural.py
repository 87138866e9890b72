import numpy as np
import pytest

from fedloom.core.errors import FedloomError
from fedloom.core.partition import deal
from fedloom.core.seeds import Seeds
from fedloom.scenarios.natural import natural

RNG = np.random.default_rng(0)


def test_groups_are_dealt_by_size() -> None:
    # sizes 5, 9, 4, 6: 9 -> client 0; 6 -> client 1; 5 -> client 1 (6 < 9); 4 -> client 0 (9 < 11).
    # Loads 13 and 11; the client of the first group (5) is numbered 0.
    rows = natural().proportions(np.array([5, 9, 4, 6]), 2, RNG)
    assert rows.tolist() == [[1, 0], [0, 1], [0, 1], [1, 0]]


def test_as_many_clients_as_groups_bear_the_groups_names() -> None:
    train = [{"pack": p} for p in ["lucide", "remix", "remix", "boxicons", "boxicons", "boxicons"]]
    part = deal(natural(), train, train, clients=3, minimum=1, seeds=Seeds(0))
    assert part.names == ["boxicons", "lucide", "remix"]
    assert part.train == [[3, 4, 5], [0], [1, 2]]


def test_more_clients_than_groups() -> None:
    with pytest.raises(FedloomError, match="5 clients but only 2 groups of 'pack'"):
        natural().proportions(np.array([3, 3]), 5, RNG)
