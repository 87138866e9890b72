"""The meter of a piece of work is asked on the way, and nobody is where none is set."""

import threading

import pytest

from fedloom.core import limits
from fedloom.core.errors import FedloomError


class Counter:
    """A meter that counts what it is asked, and has enough after ``most`` samples."""

    def __init__(self, most: int = 10**9) -> None:
        self.ticks = self.samples = 0
        self.most = most

    def tick(self) -> None:
        self.ticks += 1

    def draw(self, samples: int) -> None:
        self.samples += samples
        if self.samples > self.most:
            raise FedloomError("enough")


def test_a_meter_is_asked_within_its_work_alone() -> None:
    outer, inner = Counter(), Counter(most=5)
    with limits.metered(outer):
        limits.tick()
        with limits.metered(inner):
            limits.draw(5)
            limits.tick()
            with pytest.raises(FedloomError, match="enough"):
                limits.draw(1)
        limits.draw(7)
    limits.tick()
    limits.draw(10**12)
    assert (outer.ticks, outer.samples, inner.ticks, inner.samples) == (1, 7, 1, 6)


def test_another_threads_work_is_its_own() -> None:
    meter = Counter()
    with limits.metered(meter):
        other = threading.Thread(target=limits.tick)
        other.start()
        other.join()
    assert meter.ticks == 0
