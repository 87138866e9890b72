"""Requests at work."""

import pytest

from fedloom.split import flight as flights
from fedloom.split.flight import Flight, Seat
from fedloom.split.queue import Busy


def whole(seat: Seat, count: int) -> None:
    """A request that is announced, comes and is worked at."""
    seat.expect(count)
    seat.come(count)
    seat.stay()


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
    """Of 160 bytes a site has 80 at most with its second request, and 10 besides, which are in nobody's way."""
    flight = Flight(each=9, most=160)
    with flight.seat("a") as first, flight.seat("a") as second, flight.seat("b") as other, flight.seat("c") as last:
        whole(first, 70)
        with pytest.raises(Busy, match="70 bytes of requests are at work, and 160 may be"):
            second.expect(11)
        whole(second, 10)
        whole(other, 100)  # 70 + 90 of 160 are spent
        with pytest.raises(Busy):
            last.expect(11)
        whole(last, 10)
        assert flight.bytes == 190
    assert flight.bytes == 0


def test_what_is_alone_is_taken_whatever_its_size() -> None:
    flight = Flight(each=9, most=100)
    with flight.seat("a") as seat:
        whole(seat, 1000)
        assert flight.bytes == 1000
    assert flight.bytes == 0


def test_what_is_announced_holds_nothing() -> None:
    flight = Flight(each=9, most=160)
    with flight.seat("a") as first, flight.seat("b") as second, flight.seat("c") as other:
        first.expect(160)
        second.expect(160)
        first.come(1)
        whole(other, 120)
        assert flight.bytes == 121


def test_what_stands_still_makes_way_and_what_moves_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    flight, cuts = Flight(each=9, most=160), list[str]()
    clock = [100.0]
    monkeypatch.setattr(flights.time, "monotonic", lambda: clock[0])
    with flight.seat("a") as still, flight.seat("b") as slow, flight.seat("c") as third:
        for name, seat in (("still", still), ("slow", slow)):
            seat.cut = lambda name=name: cuts.append(name)  # type: ignore[misc]
            seat.expect(90)
            seat.come(80)
        clock[0] += flights.STILL - 0.5
        slow.come(1)
        third.expect(90)
        with pytest.raises(Busy, match="161 bytes"):  # 70 + 71 of 160 are spent, and it would spend 20
            third.come(30)
        clock[0] += 1.0
        third.come(30)
        assert cuts == ["still"]
        assert flight.bytes == 81 + 30
        with pytest.raises(Busy, match=r"nothing moved for 2 s, and others needed the room"):
            still.come(1)
        with pytest.raises(Busy):  # nobody is cut in vain
            third.come(200)
        assert cuts == ["still"]


def test_an_answer_takes_the_place_of_its_request() -> None:
    flight = Flight(each=9, most=160)
    with flight.seat("a") as first, flight.seat("b") as second:
        whole(first, 100)
        first.answer(20)
        whole(second, 150)
        assert flight.bytes == 170
        with pytest.raises(Busy):
            first.answer(90)
        assert flight.bytes == 150
