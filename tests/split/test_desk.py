"""A host's desk with several sites at it: what shares a pass, and who bears what goes wrong in one."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fedloom.core import wire
from fedloom.core.contracts import Parcel
from fedloom.core.passage import Codes, Passage, Target
from fedloom.models import served
from fedloom.models.language import decoding
from fedloom.split import messages, parse
from fedloom.split.desk import ROW, Desk, Job
from fedloom.split.errors import Refused

Tiny = Callable[[str], Path]


def told(passage: Passage, how: messages.Wire = "full", learn: int = 1) -> bytes:
    """A request for the loss of a passage's rows, each of which is to end in word 5."""
    parcel = messages.told(passage, how, "fp32")
    lengths = passage.mask.sum(dim=1).tolist()
    target = Target.of(lengths, [1] * len(lengths), torch.full((len(lengths),), 5))
    parcel.trees["answer"] = messages.asked(target, labels=True)
    parcel.facts |= {"kind": "loss", "learn": learn}
    return wire.pack(parcel)


def passage(desk: Desk, axes: int | None = None, places: int = 6) -> Passage:
    """A row of so many places, which have positions of so many axes (0: plain ones)."""
    torch.manual_seed(places)
    row = Passage(torch.randn(1, places, desk.language.width), torch.ones(1, places, dtype=torch.bool))
    if axes is None:
        return row
    positions = torch.arange(places)[None]
    return replace(row, positions=positions.expand(axes, 1, places) if axes else positions)


@pytest.mark.parametrize(("first", "second"), [(1, 3), (0, 3), (0, 1), (None, 3)])
def test_positions_of_another_number_of_axes_have_a_pass_of_their_own(first: int, second: int, tiny: Tiny) -> None:
    desk = Desk(served(str(tiny("qwen2_vl"))).language, together=8)
    mixed = [desk.read("a", told(passage(desk, axes))) for axes in (first, second)]
    assert not desk.fits(mixed[:1], mixed[1])
    for axes in (first, second):
        pair = [desk.read("b", told(passage(desk, axes))) for _ in range(2)]
        assert desk.fits(pair[:1], pair[1])


def test_three_axes_and_three_more_share_a_pass(tiny: Tiny) -> None:
    desk = Desk(served(str(tiny("qwen2_vl"))).language, together=8)
    jobs = [desk.read("a", told(passage(desk, 3, places))) for places in (6, 7)]
    alone = [desk.run([job])[0] for job in jobs]
    for answer, expected in zip(desk.run(jobs), alone, strict=True):
        found, right = (losses(each) for each in (answer, expected))
        torch.testing.assert_close(found, right, rtol=1e-5, atol=1e-6)


def losses(answer: bytes | Refused) -> torch.Tensor:
    assert isinstance(answer, bytes)
    return wire.unpack(answer, max_bytes=1 << 20).trees["losses"]["losses"]


def test_an_answer_that_is_no_number_costs_its_own_request_alone(tiny: Tiny) -> None:
    """Codes whose gradient overflows, in one pass with a good request: one pass answers both."""
    desk = Desk(served(str(tiny("llava"))).language, together=8)
    good = passage(desk)
    huge = Codes("text", good.mask, torch.zeros(6, 1), torch.full((desk.language.width, 1), 3e38), 1e6)
    jobs: list[Job] = [
        desk.read("b", told(good)),
        desk.read("a", told(replace(good, codes=(huge,), keys=("k",)), "low-rank")),
    ]
    assert desk.fits(jobs[:1], jobs[1])
    answer, refusal = desk.run(jobs)
    torch.testing.assert_close(losses(answer), losses(desk.run(jobs[:1])[0]), rtol=1e-5, atol=1e-6)
    assert isinstance(refusal, Refused)
    assert "NaN or infinity" in str(refusal)


def test_rows_of_almost_nothing_fill_the_room_as_well(tiny: Tiny) -> None:
    desk = Desk(served(str(tiny("llava"))).language, memory_bytes=20 * (ROW + 64))
    for first in range(0, 100, 10):
        keys = tuple(f"r{number}" for number in range(first, first + 10))
        row = Passage(torch.ones(10, 1, 16), torch.ones(10, 1, dtype=torch.bool), keys=keys)
        desk.read("a", told(row, learn=0))
        assert desk.held_bytes <= desk.memory_bytes
    assert len(desk._held["a"]) == 20


def test_so_many_continuations_are_scored_at_a_time() -> None:
    assert parse.AT_ONCE == decoding._ROWS


def test_a_hello_is_answered_at_once(tiny: Tiny) -> None:
    desk = Desk(served(str(tiny("llava"))).language)
    hello = wire.pack(Parcel({}, {"kind": "hello"}))
    assert wire.unpack(desk.ask("a", hello), max_bytes=1 << 20).facts["width"] == desk.language.width
