"""Sites hold their own data: nothing is dealt."""

import numpy as np
import pytest

from fedloom.core.errors import FedloomError
from fedloom.scenarios.sites import sites


def test_names_the_sites() -> None:
    assert sites(["mercy", "charite"]).sites == ("mercy", "charite")


@pytest.mark.parametrize("names", [[], ["mercy", "mercy"], ["mercy", "Mercy"], ["../../../escaped"], ["a b"]])
def test_refuses_no_names_the_same_twice_and_what_is_no_name(names: list[str]) -> None:
    with pytest.raises(FedloomError, match=r"scenario\.names"):
        sites(names)


def test_deals_nothing() -> None:
    with pytest.raises(FedloomError, match="at the sites"):
        sites(["mercy"]).proportions(np.array([3]), 1, np.random.default_rng(0))
