"""Sampling by size, against probabilities that are summed over all orders of drawing."""

from itertools import permutations

import pytest

from fedloom.core import resolve
from fedloom.core.contracts import ClientInfo, Sampler
from fedloom.core.seeds import Seeds

ROUNDS = 4000


def size(fraction: float) -> Sampler:
    sampler: Sampler = resolve.build("sampling", "size", {}, fraction=fraction)
    return sampler


def turns(fraction: float, held: list[int]) -> list[float]:
    """How often each client took part, as a share of the rounds."""
    rng, clients = Seeds(0).numpy("a"), [ClientInfo(str(n), examples, 1) for n, examples in enumerate(held)]
    sampler = size(fraction)
    cohorts = [sampler(clients, number, rng) for number in range(1, ROUNDS + 1)]
    return [sum(client in cohort for cohort in cohorts) / ROUNDS for client in clients]


def near(share: float, chance: float) -> bool:
    """Whether a share is what so many rounds give by chance: within four standard deviations."""
    return abs(share - chance) <= 4 * (chance * (1 - chance) / ROUNDS) ** 0.5


def chances(held: list[int], count: int) -> list[float]:
    """The probability that each client is among ``count`` drawn one after the other."""
    result = [0.0] * len(held)
    for order in permutations(range(len(held)), count):
        chance, left = 1.0, sum(held)
        for place in order:
            chance *= held[place] / left
            left -= held[place]
        for place in order:
            result[place] += chance
    return result


def test_one_client_is_drawn_in_proportion_to_its_examples() -> None:
    held = [1, 2, 5, 12]
    assert all(near(share, examples / 20) for share, examples in zip(turns(0.25, held), held, strict=True))


@pytest.mark.parametrize("count", [2, 3])
def test_several_are_drawn_one_after_the_other(count: int) -> None:
    held = [1, 2, 5, 12]
    expected = chances(held, count)
    assert sum(expected) == pytest.approx(count)
    assert all(near(share, chance) for share, chance in zip(turns(count / 4, held), expected, strict=True))


def test_two_of_three_by_hand() -> None:
    # 1, 1 and 2 examples: the large one stays away if both others come: 2 * 1/4 * 1/3 = 1/6
    assert chances([1, 1, 2], 2) == pytest.approx([7 / 12, 7 / 12, 5 / 6])
    assert all(
        near(share, chance) for share, chance in zip(turns(0.67, [1, 1, 2]), (7 / 12, 7 / 12, 5 / 6), strict=True)
    )


@pytest.mark.parametrize(("fraction", "count"), [(1.0, 10), (0.5, 5), (0.25, 3), (0.01, 1)])
def test_a_cohort_is_the_fraction_of_the_clients(fraction: float, count: int) -> None:
    clients = [ClientInfo(str(n), 10**n, 1) for n in range(10)]
    assert len(size(fraction)(clients, 1, Seeds(0).numpy("a"))) == count


def test_clients_alike_are_as_likely_as_each_other() -> None:
    assert all(near(share, 0.4) for share in turns(0.4, [3] * 5))
