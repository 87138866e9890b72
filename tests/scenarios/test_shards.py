from types import SimpleNamespace

import numpy as np
import pytest

from fedloom.core.errors import FedloomError
from fedloom.scenarios.shards import shards


def test_shards_of_the_sorted_examples() -> None:
    # 6 + 4 + 2 examples, 2 clients x 2 shards of 3: [0, 3) and [3, 6) in the first group, [6, 9) in the second,
    # [9, 12) over the last of the second and the third. The owners of the four shards are 1, 0, 0, 1.
    rng = SimpleNamespace(permutation=lambda owners: np.array([1, 0, 0, 1]))
    rows = shards(per_client=2).proportions(np.array([6, 4, 2]), 2, rng)
    assert rows.tolist() == [[0.5, 0.5], [0.75, 0.25], [0, 1]]


def test_at_least_one_shard() -> None:
    with pytest.raises(FedloomError, match="per_client = 0"):
        shards(per_client=0)


def test_no_more_shards_than_examples() -> None:
    sizes, rng = np.array([6, 4, 2]), np.random.default_rng(0)
    assert shards(per_client=6).proportions(sizes, 2, rng).shape == (3, 2)
    for per_client in (7, 10**12):
        with pytest.raises(FedloomError, match=f"2 clients x per_client = {per_client} are more shards than the 12"):
            shards(per_client=per_client).proportions(sizes, 2, rng)
