"""Certificates and tokens, made once."""

import pytest

from tests.split.hosts import Place


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A folder with a host's certificates and the tokens of sites a, b and c."""
    return Place(tmp_path_factory.mktemp("place"))
