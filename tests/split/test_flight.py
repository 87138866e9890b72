"""Requests at work."""

import pytest

from fedloom.split.flight import Flight
from fedloom.split.queue import Busy


def test_a_site_has_its_share_of_requests() -> None:
    flight = Flight(each=2, most=100)
    with flight.seat("a"), flight.seat("a"):
        with pytest.raises(Busy, match="2 requests of 'a'"), flight.seat("a"):
            pass
        with flight.seat("b"):
            assert len(flight) == 3
    assert len(flight) == 0
    with flight.seat("a"):
        pass


def test_bytes_are_bounded_and_no_site_takes_them_all() -> None:
    flight = Flight(each=9, most=100)
    with flight.seat("a") as first, flight.seat("a") as second, flight.seat("b") as other:
        first.load(40)
        with pytest.raises(Busy, match="40 bytes of requests are at work, and 100 may be"):
            second.load(11)
        second.load(10)
        other.load(50)
        with flight.seat("c") as last, pytest.raises(Busy):
            last.load(1)
    assert flight.bytes == 0


def test_what_is_alone_is_taken_whatever_its_size() -> None:
    flight = Flight(each=9, most=100)
    with flight.seat("a") as seat:
        seat.load(1000)
        assert flight.bytes == 1000
    assert flight.bytes == 0
