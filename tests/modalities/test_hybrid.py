"""Each client's two draws, images and texts: the numbers are those of the stream ``modality/hybrid`` of seed 0.

client   0      1      2      3      4      5      6      7      8      9
images   0.452  0.384  0.998  0.795  0.595  0.217  0.527  0.934  0.626  0.638
texts    0.737  0.208  0.774  0.313  0.008  0.363  0.929  0.392  0.891  0.404
"""

import numpy as np
import pytest

from fedloom.core.contracts import present
from fedloom.modalities.hybrid import hybrid
from tests.modalities.seats import held, sample, see

V, T, B = "image", "text", "image+text"
E = f"{T} {T} {V} {T} {V} {V}"
"""One of each: the second draws of ``modality/train/<id>`` are 0.973, 0.502, 0.295, 0.612, 0.221, 0.304."""


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        (0.8, [B, B, T, B, B, B, V, T, V, B]),
        (0.7, [V, B, E, T, B, B, V, T, V, B]),
        (0.6, [V, B, E, T, B, B, V, T, E, T]),
        (1.0, [B] * 10),
    ],
)
def test_who_holds_what(p: float, expected: list[str]) -> None:
    assert held(hybrid(p)) == expected


def test_who_holds_neither_has_one_of_each_example_by_a_coin() -> None:
    assert held(hybrid(0.2), clients=1) == [E]  # client 0 has neither
    many = [present(see(hybrid(0.0), sample(str(n)))) for n in range(1000)]
    assert 450 < many.count(V) < 550  # a deviation of 16
    assert many.count(V) + many.count(T) == 1000


def test_of_an_example_with_but_one_that_one_stays() -> None:
    assert present(see(hybrid(0.0), sample("a", image=False))) == T
    assert present(see(hybrid(0.0), sample("c", text=False))) == V


def test_shares_of_many_clients() -> None:
    found = held(hybrid(0.7, seed=5), clients=2000, ids="a")
    shares = {what: found.count(what) / 2000 for what in (B, V, T)}
    # 0.49, 0.21 and 0.21; of the 0.09 with neither the coin of "a", 0.973, takes the text
    assert np.allclose([shares[B], shares[V], shares[T]], [0.49, 0.21, 0.30], atol=0.04)


def test_tests_are_complete_or_as_in_training() -> None:
    assert set(held(hybrid(0.6), half="test")) == {B}
    assert held(hybrid(0.6, test_rate=1), half="test", ids="a") == held(hybrid(0.6), ids="a")
