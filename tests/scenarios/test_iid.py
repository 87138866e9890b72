import numpy as np

from fedloom.scenarios.iid import iid


def test_everyone_gets_an_equal_share() -> None:
    scenario = iid()
    assert scenario.by is None
    assert scenario.proportions(np.array([12]), 4, np.random.default_rng(0)).tolist() == [[0.25] * 4]
