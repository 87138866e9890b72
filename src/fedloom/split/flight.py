"""Requests that a host has begun to read and not yet answered: how many of a site, how many bytes of all.

Bytes count when they are there, not when they are announced: who announces much and sends nothing holds nothing. Those
of an answer count while it leaves.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from fedloom.split.queue import Busy

STILL = 2.0
"""Seconds without a part after which a request makes way for others, where there is no room for all."""


@dataclass
class Flight:
    """At most ``each`` requests of a site, and ``most`` bytes, of which one site has no more than half with its second
    request and those after it. A sixteenth of them each site has besides, whatever the others hold: so no site, nor
    several, can take all there is. For one thread alone."""

    each: int
    most: int
    _seats: list["Seat"] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self._seats)

    @property
    def bytes(self) -> int:
        """Bytes that are here."""
        return sum(seat.bytes for seat in self._seats)

    @contextmanager
    def seat(self, site: str) -> "Iterator[Seat]":
        """The place of one request, until it is answered.

        Raises:
            Busy: the site has too many already.
        """
        if sum(seat.site == site for seat in self._seats) >= self.each:
            raise Busy(f"{self.each} requests of {site!r} are at work already: its share of the queue.")
        seat = Seat(self, site)
        self._seats.append(seat)
        try:
            yield seat
        finally:
            self._seats.remove(seat)

    def _fits(self, seat: "Seat", count: int, seats: list["Seat"]) -> bool:
        """Whether ``count`` more bytes of a seat have room beside what ``seats`` hold."""
        held = Counter[str]()
        for each in seats:
            held[each.site] += each.bytes
        alone = not held.total()
        mine = held[seat.site] - seat.bytes
        held[seat.site] += count
        if mine and held[seat.site] > self.most // 2:
            return False
        return alone or sum(max(0, bytes_ - self.most // 16) for bytes_ in held.values()) <= self.most

    def _room(self, seat: "Seat", count: int) -> None:
        """Make room for more bytes of a seat: others that stand still lose theirs, the largest first.

        Raises:
            Busy: that were not enough; nobody loses anything.
        """
        until, left = time.monotonic() - STILL, list(self._seats)
        still = [each for each in left if each is not seat and each.moves and each.last < until]
        still.sort(key=lambda each: each.bytes)
        while not self._fits(seat, count, left):
            if not still:
                raise Busy(self._full())
            left.remove(still.pop())
        for each in set(self._seats) - set(left):
            each.lose()

    def _full(self) -> str:
        return f"{self.bytes} bytes of requests are at work, and {self.most} may be (--memory-mb)."


@dataclass(eq=False)
class Seat:
    """One request's place. ``bytes``: of it that are here, or of its answer. ``moved``: those that came, or went.
    ``cut`` ends their moving, while they ``moves``; a seat that is ``lost`` was ended by others' need."""

    flight: Flight
    site: str
    bytes: int = 0
    moved: int = 0
    moves: bool = False
    lost: bool = False
    last: float = 0.0
    cut: Callable[[], None] = lambda: None

    def expect(self, total: int) -> None:
        """See whether a request of so many bytes has room beside those that are at work; begin to take it.

        Raises:
            Busy: it has none.
        """
        if not self.flight._fits(self, total, [seat for seat in self.flight._seats if not seat.moves]):
            raise Busy(self.flight._full())
        self.moved, self.moves, self.last = 0, True, time.monotonic()

    def come(self, count: int) -> None:
        """So many more bytes of the request came.

        Raises:
            Busy: there is no room for them, or others needed what there was.
        """
        self.check()
        self.flight._room(self, count)
        self.bytes += count
        self.move(count)

    def stay(self) -> None:
        """Nothing moves any more: the request is whole, or its answer has left."""
        self.moves = False

    def answer(self, total: int) -> None:
        """In the place of the request there is its answer, which begins to leave.

        Raises:
            Busy: there is no room for it.
        """
        self.bytes = 0
        self.flight._room(self, total)
        self.bytes, self.moved, self.moves, self.last = total, 0, True, time.monotonic()

    def move(self, count: int) -> None:
        """So many bytes moved.

        Raises:
            Busy: others needed the room.
        """
        self.check()
        self.moved += count
        self.last = time.monotonic()

    def lose(self) -> None:
        """Make way for others."""
        self.bytes, self.lost, self.moves = 0, True, False
        self.cut()

    def check(self) -> None:
        """See whether it is still its.

        Raises:
            Busy: others needed the room.
        """
        if self.lost:
            raise Busy(f"nothing moved for {STILL:g} s, and others needed the room (--memory-mb).")
