"""Shrinking cohorts by hand."""

import pytest

from fedloom.core import resolve
from fedloom.core.contracts import ClientInfo, Sampler
from fedloom.core.errors import FedloomError
from fedloom.core.seeds import Seeds


def sizes(rounds: list[int], clients: int = 20, fraction: float = 1.0, **options: float) -> list[int]:
    sampler: Sampler = resolve.build("sampling", "dynamic", options, fraction=fraction)
    infos = [ClientInfo(str(number), 1, 1) for number in range(clients)]
    return [len(sampler(infos, number, Seeds(0).numpy("a"))) for number in rounds]


def test_cohorts_shrink_from_the_fraction_to_the_floor() -> None:
    # 20 exp(-0.1 t): 20, 18.1, 16.4, 14.8; exp(-1) = 0.368: 7.36; exp(-2.2) = 0.111: 2.2; exp(-5) = 0.007: 0.1
    assert sizes([1, 2, 3, 4, 11, 23, 51, 100_000]) == [20, 18, 16, 15, 7, 2, 2, 2]


def test_t_may_begin_elsewhere() -> None:
    assert sizes([1, 2, 3], start=1) == [18, 16, 15]  # 20 exp(-0.1 t): 18.1, 16.4, 14.8
    assert sizes([1, 2], start=0) == [20, 18]
    assert sizes([1], start=10) == [7]


def test_every_option_counts() -> None:
    assert sizes([1, 2, 3], beta=0.6931471805599453) == [20, 10, 5]  # ln 2 halves
    assert sizes([1, 8], fraction=0.5) == [10, 5]  # 10 exp(-0.7) = 4.97
    assert sizes([1, 100], beta=0) == [20, 20]
    assert sizes([100], floor=5) == [5]
    assert sizes([100], floor=1) == [1]


@pytest.mark.parametrize("clients", [1, 2, 3])
def test_no_more_clients_than_the_floor_all_take_part(clients: int) -> None:
    assert sizes([1, 50], clients=clients, floor=3, fraction=0.4) == [clients, clients]


def test_every_client_is_as_likely_as_any_other() -> None:
    sampler: Sampler = resolve.build("sampling", "dynamic", {"beta": 0.5, "floor": 3}, fraction=1.0)
    infos, rng = [ClientInfo(str(number), number + 1, 1) for number in range(10)], Seeds(0).numpy("a")
    cohorts = [sampler(infos, 20, rng) for _ in range(2000)]
    turns = [sum(info in cohort for cohort in cohorts) for info in infos]
    assert all(abs(count - 600) < 4 * (2000 * 0.3 * 0.7) ** 0.5 for count in turns)


@pytest.mark.parametrize("options", [{"beta": -0.1}, {"floor": 0}, {"floor": 1.5}, {"start": -1}])
def test_no_such_option(options: dict[str, float]) -> None:
    with pytest.raises(FedloomError, match=next(iter(options))):
        sizes([1], **options)
