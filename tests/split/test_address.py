"""HOST:PORT."""

import pytest

from fedloom.core.errors import FedloomError
from fedloom.split.address import is_loopback, parted


def test_parts_of_an_address() -> None:
    assert parted("example.org:80", "x") == ("example.org", 80)
    assert parted("[::1]:80", "x") == ("::1", 80)
    assert parted("9464", "x") == parted(":9464", "x") == ("127.0.0.1", 9464)


@pytest.mark.parametrize("text", ["", "example.org", "example.org:", "a:70000", "a:-1"])
def test_no_address(text: str) -> None:
    with pytest.raises(FedloomError, match=r"--listen .* expected HOST:PORT"):
        parted(text, "--listen")


@pytest.mark.parametrize(
    ("text", "here"),
    [("127.0.0.1:1", True), ("[::1]:1", True), ("localhost:1", True), ("0.0.0.0:1", False), ("host:1", False)],
)
def test_loopback(text: str, here: bool) -> None:
    assert is_loopback(text) == here
