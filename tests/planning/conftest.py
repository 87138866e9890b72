"""Every test of this room runs on the toy of ``tests/federation``."""

from tests.federation.conftest import _toy, run

__all__ = ["_toy", "run"]
