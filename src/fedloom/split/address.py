"""``HOST:PORT``, as hosts listen and clients dial."""

import ipaddress

from fedloom.core.errors import FedloomError


def parted(text: str, what: str) -> tuple[str, int]:
    """Host and port of ``HOST:PORT``; without a host, this machine's loopback. ``what``: whose address it is.

    Raises:
        FedloomError: it is none.
    """
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or int(port) > 65535:
        raise FedloomError(f"{what} {text!r}: expected HOST:PORT, such as 127.0.0.1:8100.")
    return host.strip("[]") or "127.0.0.1", int(port)


def is_loopback(text: str) -> bool:
    """Whether ``HOST:PORT`` is reached from this machine alone."""
    host = text.rpartition(":")[0].strip("[]")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
