"""Every decoder on a fixed run of mutations; ``benchmarks/fuzz.py`` runs many more of the same."""

import resource
import time

import pytest

from fedloom.core.errors import FedloomError
from tests.fuzz import harness
from tests.fuzz.harness import Tally, Target, input_of, run
from tests.fuzz.targets import every

PARTS = 8
MUTATIONS = 80
LENIENT = ("wire: sizes", "checkpoint", "rounds.jsonl")
"""What they cannot read they pass over."""


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Target]:
    return every(tmp_path_factory.mktemp("fuzz"))


@pytest.mark.parametrize("part", range(PARTS))
def test_nothing_but_a_fedloom_error_leaves_a_decoder(targets: dict[str, Target], part: int) -> None:
    found = [run(target, MUTATIONS) for target in list(targets.values())[part::PARTS]]
    assert [line for tally in found for line in tally.told()] == []
    assert all(tally.mutations == MUTATIONS for tally in found)
    assert [tally.name for tally in found if not tally.refused and tally.name not in LENIENT] == []
    assert [tally.name for tally in found if not tally.accepted] == []


def test_what_fedloom_itself_writes_is_taken_by_each(targets: dict[str, Target]) -> None:
    for target in targets.values():
        for seed in target.seeds:
            target.decode(seed)


def told(decode: object) -> list[str]:
    """What is told of a decoder that does what none may."""
    return run(Target("bad", (b"seed",), decode), 3).told()  # type: ignore[arg-type]


def test_another_error_is_a_fault() -> None:
    def bad(blob: bytes) -> object:
        return {}[blob]

    (line,) = told(bad)
    assert line.startswith("bad: mutation 0 and 2 more: KeyError b'")


def test_a_slow_step_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(blob: bytes) -> None:
        until = time.process_time() + 0.02
        while time.process_time() < until:
            pass

    monkeypatch.setattr(harness, "SECONDS", 0.01)
    assert told(slow) == ["bad: mutation 0 and 2 more: more than 0.01 s"]


@pytest.mark.parametrize("hidden", [False, True])
def test_a_step_that_takes_the_memory_is_a_fault(hidden: bool) -> None:
    def greedy(blob: bytes) -> object:
        try:
            return bytearray(harness.BYTES + (1 << 28))
        except MemoryError:
            if hidden:
                raise FedloomError("it cannot be read.") from None
            raise

    before = resource.getrlimit(resource.RLIMIT_AS)
    (line,) = told(greedy)
    assert ("more than 2147483648 bytes" if hidden else "MemoryError") in line
    assert resource.getrlimit(resource.RLIMIT_AS) == before


def test_a_number_makes_its_mutation_again(targets: dict[str, Target]) -> None:
    for target in targets.values():
        assert [input_of(target, n, 1) for n in range(20)] == [input_of(target, n, 1) for n in range(20)]
    assert Tally("a").told() == []


def test_every_stage_of_a_channel_is_in_a_stack(targets: dict[str, Target]) -> None:
    from fedloom.core.resolve import known

    assert [stage for stage in known("channel") if not any(stage in name for name in targets)] == []
