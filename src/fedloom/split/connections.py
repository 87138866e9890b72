"""Connections to a host's port: those that bring sites' requests stay; strangers' are few, and do not last.

gRPC takes every connection and knows no limit for an address: whoever opened enough of them, and said nothing, held all
files of the process, and nobody else was let in. It does not hand its sockets out either; so they are looked up among
the process's open files, and those that go are shut down, which gRPC takes for a client that left.
"""

import ipaddress
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

EVERY = 0.5
"""Seconds between two looks."""

PATIENCE = 60.0
"""Seconds that a connection may last which brought no site's request: what asks for health alone connects anew."""

SITE = 32
"""Connections of one site; those that it used the longest ago go first."""

FILES = 65536
"""Open files that a host asks its system for: one address has no more ports than these to connect from."""

_FILES = Path("/dev/fd" if sys.platform == "darwin" else "/proc/self/fd")

Peer = tuple[str, int]
"""Address and port of the other side."""


def limit() -> int:
    """How many files this process may have open, after it has asked for ``FILES`` of them."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows, where sockets are no files
        return FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    most = FILES if hard == unlimited else min(hard, FILES)
    if soft == unlimited or soft >= most:
        return FILES if soft == unlimited else soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    except (OSError, ValueError):  # a container may forbid it
        return soft
    return most


@dataclass
class Connections:
    """Those to the port that is given to ``sweep``. ``strangers``: how many may be there at a time that have brought no
    site's request; of addresses with many the oldest go first. For one thread alone."""

    strangers: int
    _sites: dict[Peer, str] = field(default_factory=dict)
    _since: dict[Peer, float] = field(default_factory=dict)

    def brought(self, peer: str, site: str) -> None:
        """A request of ``site`` came from ``peer``, as gRPC writes it."""
        if (found := _parted(peer)) is not None:
            self._sites.pop(found, None)  # to the end, as the one that was used last
            self._sites[found] = site

    def sweep(self, port: int) -> None:
        """End what has no place."""
        now, here = time.monotonic(), dict(_open(port))
        self._sites = {peer: site for peer, site in self._sites.items() if peer in here}
        self._since = {peer: self._since.get(peer, now) for peer in here if peer not in self._sites}
        for peer in {*self._many(), *self._old(now), *self._crowd()}:
            _shut(here[peer], peer)

    def _many(self) -> Iterator[Peer]:
        """Connections of a site beyond those that it may have."""
        count = Counter[str]()
        for peer, site in reversed(self._sites.items()):
            count[site] += 1
            if count[site] > SITE:
                yield peer

    def _old(self, now: float) -> Iterator[Peer]:
        return (peer for peer, since in self._since.items() if now - since > PATIENCE)

    def _crowd(self) -> list[Peer]:
        """Strangers beyond those that may be: the newest of each address stay, as many of one as of another."""
        count, ranked = Counter[str](), list[tuple[int, Peer]]()
        for peer in sorted(self._since, key=lambda peer: self._since[peer], reverse=True):
            network = _network(peer[0])
            count[network] += 1
            ranked.append((count[network], peer))
        return [peer for _, peer in sorted(ranked, key=lambda each: each[0])[self.strangers :]]


def _parted(peer: str) -> Peer | None:
    """``ipv4:1.2.3.4:5`` or ``ipv6:%5B::1%5D:5`` as address and port."""
    kind, _, rest = unquote(peer).partition(":")
    address, _, port = rest.rpartition(":")
    return (_plain(address.strip("[]")), int(port)) if kind in ("ipv4", "ipv6") and port.isdecimal() else None


def _plain(address: str) -> str:
    """An address as it is written once: without its interface, and of IPv4 without what marks it in IPv6."""
    return address.partition("%")[0].removeprefix("::ffff:")


def _network(address: str) -> str:
    """What one machine may have all of: an address of IPv4, half of one of IPv6."""
    found = ipaddress.ip_address(address)
    return address if found.version == 4 else found.packed[:8].hex()


def _open(port: int) -> Iterator[tuple[Peer, int]]:
    """The connections that came to a port of this process, and the number of each one's file."""
    for number in _numbers():
        try:
            found = socket.socket(fileno=number)
        except OSError:  # no socket, or closed meanwhile
            continue
        try:
            if found.family in (socket.AF_INET, socket.AF_INET6) and found.getsockname()[1] == port:
                yield _peer(found), number
        except OSError:  # it listens, or its client is gone
            continue
        finally:
            found.detach()


def _numbers() -> Iterable[int]:
    try:
        return [int(file.name) for file in _FILES.iterdir()]
    except FileNotFoundError:  # Windows
        return ()
    except OSError:  # no file is left, not for this list either: so every number is that of one
        return range(limit())


def _peer(found: socket.socket) -> Peer:
    address, port = found.getpeername()[:2]
    return _plain(address), port


def _shut(number: int, peer: Peer) -> None:
    """End a connection, if the file is still that; gRPC then closes it."""
    try:
        found = socket.socket(fileno=number)
    except OSError:
        return
    try:
        if _peer(found) == peer:
            found.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    finally:
        found.detach()
