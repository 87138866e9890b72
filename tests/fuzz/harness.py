"""Runs a decoder on mutations of what it takes: nothing but ``FedloomError`` may leave it, soon and within memory."""

import math
import resource
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random

from fedloom.core import memory
from fedloom.core.errors import FedloomError
from tests.fuzz.mutate import Change, mutate

SECONDS = 1.0
"""The longest that a step may compute."""

BYTES = 2 << 30
"""The most memory that a step may take."""


@dataclass(frozen=True)
class Target:
    """A decoder of what others wrote. ``seeds``: valid inputs, made by fedloom's own writers; ``decode`` takes each of
    them. ``changes``: what can be done to them besides, so that they are still of their kind."""

    name: str
    seeds: tuple[bytes, ...]
    decode: Callable[[bytes], object]
    changes: tuple[Change, ...] = ()


@dataclass
class Tally:
    """What came of a target's mutations. ``faults``: by what was wrong, where, the numbers of the mutations, and
    ``texts`` of the first of each; ``slowest`` in seconds, ``peak`` in bytes above what there was."""

    name: str
    mutations: int = 0
    refused: int = 0
    accepted: int = 0
    slowest: float = 0.0
    peak: int = 0
    faults: dict[str, list[int]] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)

    def blame(self, wrong: str, text: str = "") -> None:
        """Note a fault of the last mutation."""
        self.faults.setdefault(wrong, []).append(self.mutations - 1)
        self.texts.setdefault(wrong, text)

    @property
    def wrong(self) -> int:
        """How many mutations did what they must not."""
        return sum(map(len, self.faults.values()))

    def told(self) -> list[str]:
        """A line a fault, with the number of a mutation that shows it."""
        return [
            f"{self.name}: mutation {numbers[0]} and {len(numbers) - 1} more: {wrong} {self.texts[wrong]}".rstrip()
            for wrong, numbers in self.faults.items()
        ]


def input_of(target: Target, number: int, seed: int = 0) -> bytes:
    """Mutation ``number`` of a target, the same whenever it is asked for."""
    return mutate(Random(f"{seed}/{target.name}/{number}"), target.seeds, target.changes)


def run(target: Target, mutations: int, seed: int = 0, seconds: float = math.inf) -> Tally:
    """Decode so many mutations, or as many as ``seconds`` are enough for."""
    tally, until = Tally(target.name), time.monotonic() + seconds
    memory.reset_peak()
    before = memory.peak()
    with warnings.catch_warnings(), _limited():
        warnings.simplefilter("ignore")
        while tally.mutations < mutations and time.monotonic() < until:
            _step(target, tally, input_of(target, tally.mutations, seed))
    tally.peak = memory.peak() - before
    if tally.peak > BYTES:
        tally.blame(f"more than {BYTES} bytes of memory")
    return tally


def _step(target: Target, tally: Tally, blob: bytes) -> None:
    begun = time.process_time()  # of this process alone: a busy machine is no fault
    tally.mutations += 1
    try:
        target.decode(blob)
        tally.accepted += 1
    except FedloomError as error:
        tally.refused += 1
        if _out_of_memory(error):
            tally.blame(f"more than {BYTES} bytes of memory")
    except Exception as error:
        tally.blame(f"{type(error).__name__}{_where(error)}", str(error)[:80])
    took = time.process_time() - begun
    tally.slowest = max(tally.slowest, took)
    if took > SECONDS:
        tally.blame(f"more than {SECONDS:g} s")


def _out_of_memory(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _where(error: Exception) -> str:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/src/fedloom/" in frame.filename]
    return f" ({frames[-1].filename.rpartition('/src/')[2]}, line {frames[-1].lineno})" if frames else ""


@contextmanager
def _limited() -> Iterator[None]:
    """Memory beyond ``BYTES`` more than there is now cannot be had."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
        size = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
