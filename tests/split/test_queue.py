"""What waits for the language model."""

import time
from collections.abc import Sequence
from typing import Any

import pytest

from fedloom.split.metrics import Metrics
from fedloom.split.queue import Busy, Late, Queue, Stopping, Ticket, Worker
from tests.split.hosts import FakeDesk, FakeJob


class Told(list[Any]):
    """Tickets of a test, and what they were told."""

    def ticket(self, text: str, site: str = "a", group: str = "", until: float = float("inf")) -> Ticket:
        job: Any = FakeJob(site, "loss", text, group)
        return Ticket(job, until, lambda answer: self.append((text, answer)))


def texts(tickets: Sequence[Ticket]) -> list[str]:
    return [ticket.job.text for ticket in tickets]  # type: ignore[attr-defined]


def put(queue: Queue, *tickets: Ticket) -> None:
    for ticket in tickets:
        queue.put(ticket)


def test_the_oldest_goes_with_all_that_fit_it() -> None:
    queue, told, desk = Queue(9), Told(), FakeDesk(together=3)
    put(queue, *(told.ticket(text, group=text[0]) for text in ("x1", "y1", "x2", "y2", "x3", "x4")))
    assert texts(queue.take(desk.fits)) == ["x1", "x2", "x3"]
    assert texts(queue.take(desk.fits)) == ["y1", "y2"]
    assert texts(queue.take(desk.fits)) == ["x4"]


def test_a_full_queue_says_so() -> None:
    queue, told = Queue(2), Told()
    put(queue, told.ticket("1"), told.ticket("2"))
    with pytest.raises(Busy, match="2 requests wait already, and 2 may"):
        queue.put(told.ticket("3"))
    assert len(queue) == 2


def test_a_full_queue_takes_one_of_each_site() -> None:
    queue, told = Queue(2), Told()
    put(queue, told.ticket("1"), told.ticket("2"), told.ticket("3", site="b"))
    for site in "ab":
        with pytest.raises(Busy, match="3 requests wait already, and 2 may"):
            queue.put(told.ticket("4", site=site))


def test_sites_take_turns() -> None:
    """However many requests one site has sent, and however early, another waits for one pass of it."""
    queue, told, desk = Queue(9), Told(), FakeDesk(together=1)
    put(queue, *(told.ticket(text) for text in ("a1", "a2", "a3")))
    assert texts(queue.take(desk.fits)) == ["a1"]
    put(queue, told.ticket("b1", "b"), told.ticket("b2", "b"), told.ticket("c1", "c"))
    assert [texts(queue.take(desk.fits))[0] for _ in range(5)] == ["b1", "c1", "a2", "b2", "a3"]


def test_who_is_gone_frees_its_place() -> None:
    queue, told, desk = Queue(2), Told(), FakeDesk()
    first, second = told.ticket("1"), told.ticket("2")
    put(queue, first, second)
    queue.drop(first)
    queue.drop(first)
    queue.put(told.ticket("3"))
    assert texts(queue.take(desk.fits)) == ["2", "3"]
    queue.drop(second)  # it is being answered: nothing to free
    assert told == []


def test_who_waits_no_longer_is_told_and_not_answered() -> None:
    queue, told, desk = Queue(2), Told(), FakeDesk()
    put(queue, told.ticket("late", until=time.monotonic() - 1), told.ticket("in time"))
    assert texts(queue.take(desk.fits)) == ["in time"]
    assert [(text, type(answer)) for text, answer in told] == [("late", Late)]


def test_a_closed_queue_tells_those_that_wait_and_takes_nothing() -> None:
    queue, told, desk = Queue(2), Told(), FakeDesk()
    queue.put(told.ticket("1"))
    queue.close()
    assert [(text, type(answer)) for text, answer in told] == [("1", Stopping)]
    assert queue.take(desk.fits) == []
    with pytest.raises(Stopping):
        queue.put(told.ticket("2"))


def test_one_bad_request_costs_only_itself() -> None:
    queue, told, desk = Queue(9), Told(), FakeDesk()
    put(queue, *(told.ticket(text) for text in ("x", "poison", "y", "bug")))
    worker = Worker(desk, queue, Metrics())  # type: ignore[arg-type]
    worker.start()
    for _ in range(5):
        assert desk.begun.acquire(timeout=5)
    queue.close()
    worker.join(5)
    assert desk.passes == [["x", "poison", "y", "bug"], ["x"], ["poison"], ["y"], ["bug"]]
    found = dict(told)
    assert (found["x"], found["y"]) == (b"X", b"Y")
    assert "poisoned" in str(found["poison"])
    assert str(found["bug"]) == "something secret"
