"""Requests that a host has begun to read and not yet answered: how many of a site, how many bytes of all."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from fedloom.split.queue import Busy


@dataclass
class Flight:
    """At most ``each`` requests of a site, and ``most`` bytes, of which one site has no more than half with its second
    request and those after it. No site can take all there is. For one thread alone."""

    each: int
    most: int
    bytes: int = 0
    _requests: Counter[str] = field(default_factory=Counter)
    _bytes: Counter[str] = field(default_factory=Counter)

    def __len__(self) -> int:
        return self._requests.total()

    @contextmanager
    def seat(self, site: str) -> "Iterator[Seat]":
        """The place of one request, until it is answered.

        Raises:
            Busy: the site has too many already.
        """
        if self._requests[site] >= self.each:
            raise Busy(f"{self.each} requests of {site!r} are at work already: its share of the queue.")
        self._requests[site] += 1
        seat = Seat(self, site)
        try:
            yield seat
        finally:
            self._requests[site] -= 1
            self._add(site, -seat.bytes)

    def _add(self, site: str, count: int) -> None:
        self.bytes += count
        self._bytes[site] += count
        if not self._requests[site]:
            del self._requests[site], self._bytes[site]


@dataclass
class Seat:
    """One request's place."""

    flight: Flight
    site: str
    bytes: int = 0

    def load(self, count: int) -> None:
        """Make room for the request's bytes.

        Raises:
            Busy: there is none now.
        """
        flight = self.flight
        mine = flight._bytes[self.site]
        if flight.bytes and (flight.bytes + count > flight.most or (mine and mine + count > flight.most // 2)):
            raise Busy(f"{flight.bytes} bytes of requests are at work, and {flight.most} may be (--memory-mb).")
        self.bytes = count
        flight._add(self.site, count)
