"""What tests of tasks share: nothing that they read is kept in the user's own cache."""

from collections.abc import Iterator

import pytest

from fedloom.core import home


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    place = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(home, "cache", lambda: place)
        yield
