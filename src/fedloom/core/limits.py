"""What a piece of work may take: whoever has it done sets a meter, and work that can grow without end asks it on its
way, between two batches and before samples are drawn. Without a meter nothing is bounded."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol


class Meter(Protocol):
    """Counts what a piece of work takes, and raises where it is too much."""

    def tick(self) -> None:
        """Called between two batches: see whether there is time left."""

    def draw(self, samples: int) -> None:
        """Called before so many samples are drawn."""


_meter: ContextVar[Meter | None] = ContextVar("meter", default=None)


@contextmanager
def metered(meter: Meter) -> Iterator[None]:
    """Have ``meter`` asked by all work of this thread until the end."""
    token = _meter.set(meter)
    try:
        yield
    finally:
        _meter.reset(token)


def tick() -> None:
    """Say that work goes on.

    Raises:
        FedloomError: it may not.
    """
    if meter := _meter.get():
        meter.tick()


def draw(samples: int) -> None:
    """Say that so many samples are about to be drawn.

    Raises:
        FedloomError: they are too many.
    """
    if meter := _meter.get():
        meter.draw(samples)
