"""The toy's experiment as a file."""

from tests.report.conftest import source

__all__ = ["source"]
