"""Uniform sampling."""

import pytest

from fedloom.core import resolve
from fedloom.core.contracts import ClientInfo, Sampler
from fedloom.core.errors import FedloomError
from fedloom.core.seeds import Seeds

CLIENTS = [ClientInfo(str(number), 1, 1) for number in range(10)]


def uniform(fraction: float) -> Sampler:
    sampler: Sampler = resolve.build("sampling", "uniform", {}, fraction=fraction)
    return sampler


@pytest.mark.parametrize(("fraction", "count"), [(1.0, 10), (0.5, 5), (0.25, 3), (0.24, 2), (0.01, 1)])
def test_a_cohort_is_the_fraction_rounded_half_up_and_at_least_one(fraction: float, count: int) -> None:
    assert len(uniform(fraction)(CLIENTS, 1, Seeds(0).numpy("a"))) == count


@pytest.mark.parametrize(("fraction", "clients", "count"), [(0.29, 50, 15), (0.145, 100, 15), (0.7, 5, 4)])
def test_half_a_client_goes_up_whatever_floating_point_makes_of_it(fraction: float, clients: int, count: int) -> None:
    many = [ClientInfo(str(number), 1, 1) for number in range(clients)]
    assert len(uniform(fraction)(many, 1, Seeds(0).numpy("a"))) == count


@pytest.mark.parametrize("fraction", [0, -0.1, 1.01])
def test_no_such_fraction(fraction: float) -> None:
    with pytest.raises(FedloomError, match="fraction"):
        uniform(fraction)


def test_every_client_is_as_likely_as_any_other() -> None:
    rng, turns = Seeds(0).numpy("a"), dict.fromkeys((client.name for client in CLIENTS), 0)
    for number in range(2000):
        for client in uniform(0.3)(CLIENTS, number, rng):
            turns[client.name] += 1
    assert all(abs(count - 600) < 5 * (2000 * 0.3 * 0.7) ** 0.5 for count in turns.values())
