"""What travels, counted at LLaVA-1.5-7B's shapes, and what is refused on its way in."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fedloom.core import wire
from fedloom.core.contracts import Example, Parcel
from fedloom.core.errors import FedloomError
from fedloom.core.passage import Codes, Passage
from fedloom.split import messages, parse, passes
from fedloom.split.boundary import Boundary
from fedloom.split.messages import Request, Wire
from fedloom.split.numbers import put, take
from tests.models.backbones import examples
from tests.split.split import moved, split

Tiny = Callable[[str], Path]
ROWS, PICTURE, TEXT, WIDTH, RANK = 16, 576, 64, 4096, 64


def passage() -> Passage:
    """A batch of 16: a picture and 64 tokens of text each, NanoAdapters of rank 64."""
    length = PICTURE + TEXT
    base = torch.zeros(1, 1, 1).expand(ROWS, length, WIDTH)
    mask = torch.ones(ROWS, length, dtype=torch.bool)
    shown = (torch.arange(length) < PICTURE).expand(ROWS, length)
    up = torch.zeros(WIDTH, RANK)
    codes = (
        Codes("image", shown, torch.zeros(ROWS * PICTURE, RANK), up, 1.0),
        Codes("text", ~shown, torch.zeros(ROWS * TEXT, RANK), up, 1.0),
    )
    return Passage(base, mask, codes, keys=tuple(f"{row:032x}" for row in range(ROWS)))


def step(how: Wire) -> tuple[int, int]:
    """Bytes of a later step's request and of its answer."""
    whole = passage()
    told = Passage(whole.base, whole.mask) if how == "full" else whole
    request = messages.told(told, how, "fp32", held=whole.keys)
    slope = torch.zeros(1, 1, 1).expand(ROWS, PICTURE + TEXT, WIDTH)
    asked = Request("loss", "fp32", how, True, ())
    gradient = passes._gradient(slope, asked, told)
    return len(wire.pack(request)), len(wire.pack(Parcel({"gradient": gradient})))


def test_the_low_rank_wire_sends_thirty_times_less_at_the_real_shapes() -> None:
    full, low = step("full"), step("low-rank")
    places = ROWS * (PICTURE + TEXT)
    for whole, codes in zip(full, low, strict=True):
        assert 4 * places * WIDTH < whole < 4 * places * WIDTH + 2000
        assert 4 * (places + 2 * WIDTH) * RANK < codes < 4 * (places + 2 * WIDTH) * RANK + places + 3000
    assert sum(full) / sum(low) > 30


BROKEN: dict[str, tuple[Callable[[Parcel], Any], str]] = {
    "no kind": (lambda p: p.facts.pop("kind"), "kind is ''"),
    "another wire": (lambda p: p.facts.update(wire="half"), "wire is 'half'"),
    "no rows": (lambda p: p.trees.pop("rows"), "lengths is missing"),
    "too long": (lambda p: p.trees["rows"].update(lengths=torch.tensor([9999] * 4, dtype=torch.int32)), "9999"),
    "other lengths": (
        lambda p: p.trees["rows"].update(lengths=torch.tensor([3] * 4, dtype=torch.int32)),
        "the rows have",
    ),
    "floats for whole numbers": (lambda p: p.trees["answer"].update(labels=torch.zeros(8)), "expected int32"),
    "no labels": (lambda p: p.trees["answer"].pop("labels"), "labels is missing"),
    "outside the vocabulary": (
        lambda p: p.trees["answer"].update(labels=torch.full_like(p.trees["answer"]["labels"], 10**6)),
        "1000000 to 1000000, expected 0 to",
    ),
    "an answer longer than its row": (
        lambda p: p.trees["answer"].update(counts=torch.tensor([99] * 4, dtype=torch.int32)),
        "counts has numbers",
    ),
    "a row that is not named": (lambda p: p.trees["base"].update(more=torch.zeros(2, 16)), "row 'more' is not one"),
    "another width": (
        lambda p: p.trees["base"].update({p.facts["keys"].split(",")[0]: torch.zeros(9, 17)}),
        r"is \[9, 17\], expected \[9, 16\]",
    ),
    "codes of another width": (lambda p: p.trees["codes"].update({"text.up": torch.zeros(5, 3)}), "text.up"),
    "no scale": (lambda p: p.facts.pop("text.scale"), "text.scale is None"),
    "no places": (lambda p: p.trees["rows"].pop("which"), "of which adapter"),
    "weights for others": (lambda p: p.trees["answer"].update(weights=torch.zeros(9)), r"weights is \[9\]"),
    "millions of lengths": (
        lambda p: p.trees["rows"].update(lengths=torch.ones(5_000_000, dtype=torch.int32)),
        r"lengths is torch.int32 \[5000000\], expected int32 \[1 to 4096\]",
    ),
    "thousands of names": (lambda p: p.facts.update(keys=",".join(map(str, range(5000)))), "keys name 5000 rows"),
    "a name twice": (lambda p: p.facts.update(keys=",".join([p.facts["keys"].split(",")[0]] * 4)), "different names"),
    "a long name": (lambda p: p.facts.update(keys="a" * 65), "at most 64 characters"),
    "a row without places": (
        lambda p: p.trees["base"].update({p.facts["keys"].split(",")[0]: torch.zeros(0, 16)}),
        r"is \[0, 16\], expected \[1 to",
    ),
    "half a number": (
        lambda p: p.trees["codes"].update({"text.z": p.trees["codes"]["text.z"].to(torch.int8)}),
        "int8 with its blocks' scales",
    ),
}


def heard(boundary: Boundary) -> list[bytes]:
    """Every request that goes through a boundary from now on."""
    sent: list[bytes] = []
    ask = boundary.ask

    def listen(blob: bytes) -> bytes:
        sent.append(blob)
        return ask(blob)

    boundary.ask = listen
    return sent


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_request_is_refused_by_name(case: str, tiny: Tiny) -> None:
    model, boundary, desk = split(tiny("llava"), wire="low-rank")
    sent = heard(boundary)
    moved(model).loss(model.collate(examples()))
    parcel = wire.unpack(sent[0], max_bytes=1 << 20)
    change, words = BROKEN[case]
    change(parcel)
    with pytest.raises(FedloomError, match=words):
        desk.read("a", wire.pack(parcel))
    assert desk.run([desk.read("a", sent[0])])  # and the desk goes on


def test_more_than_a_host_has_room_for_is_refused(tiny: Tiny) -> None:
    """A small request may ask for much: 16 rows that are held, of up to 14 places."""
    model, _, desk = split(tiny("llava"), wire="low-rank")
    moved(model).loss(model.collate(examples(16)))
    desk.memory_bytes = 9000
    with pytest.raises(FedloomError, match="take 224 places and 14336 bytes, more than the host's 65536 and 9000"):
        model.loss(model.collate(examples(16)))


def crowded(count: int, entry: str) -> bytes:
    """A message of ``count`` empty tensors, as anybody could write it."""
    tensors = ",".join(entry % number for number in range(count))
    text = json.dumps({"version": 1, "slots": ["base"], "facts": {"kind": "loss"}})
    header = f'{{"__metadata__":{{"fedloom":{json.dumps(text)}}},{tensors}}}'.encode()
    return len(header).to_bytes(8, "little") + header


EMPTY = '"base/%x":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'


@pytest.mark.parametrize(
    ("blob", "words"),
    [
        (crowded(240_000, EMPTY), "a header of 14810199 bytes is more than the 2097152 allowed"),
        (crowded(30_000, EMPTY), "more tensors than the 8256 allowed"),
        (crowded(30_000, EMPTY.replace("data_offsets", "data\\u005foffsets")), "more tensors"),
        (crowded(1, '"x%x":[' + "[]," * 600_000 + "0]"), "more tensors"),
    ],
)
def test_a_crowd_of_empty_tensors_is_refused_before_it_is_read(blob: bytes, words: str, tiny: Tiny) -> None:
    _, _, desk = split(tiny("llava"))
    begun = time.thread_time()
    with pytest.raises(FedloomError, match=words):
        desk.read("a", blob)
    assert time.thread_time() - begun < 0.2  # 5 s and more, for the first


def test_the_most_rows_that_a_request_may_have_fit_its_header() -> None:
    rows: dict[str, torch.Tensor] = {}
    for number in range(messages.ROWS):
        rows |= put(f"{number:064x}", torch.ones(2, 16), "int8")
    names = ",".join(name for name in rows if not name.endswith(".scales"))
    blob = wire.pack(Parcel({"rows": {}, "codes": {}, "answer": {}, "base": rows}, {"keys": names, "kind": "loss"}))
    assert len(messages.opened(blob, 1 << 30).trees["base"]) == 2 * messages.ROWS


def ranking(tiny: Tiny, continuations: list[tuple[int, list[int]]], **room: int) -> None:
    """Have a desk with so much room read a request that scores continuations of four rows."""
    model, boundary, desk = split(tiny("llava"))
    sent = heard(boundary)
    model.answer(examples())
    parcel = wire.unpack(sent[0], max_bytes=1 << 20)
    parcel.trees["continuations"] = messages.listed(continuations)
    for name, value in room.items():
        setattr(desk, name, value)
    desk.read("a", wire.pack(parcel))


def test_continuations_that_read_their_rows_again_and_again_are_refused(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of 3 000 empty ones takes a place of its own, and reads the 12 of its row once more."""
    monkeypatch.setattr(parse, "COPIES", 12)
    ranking(tiny, [(2, [])] * 3000, most=3000)
    monkeypatch.setattr(parse, "COPIES", 11)
    with pytest.raises(FedloomError, match="read 36000 places of their rows again, of 33000 at most"):
        ranking(tiny, [(2, [])] * 3000, most=3000)


def test_logits_of_continuations_have_room_or_are_refused(tiny: Tiny) -> None:
    """One of 40 words among 99 short ones: all that are scored at a time are as wide as it, with its end."""
    with pytest.raises(FedloomError, match=r"the logits of the continuations take 4100 places and 508400 bytes"):
        ranking(tiny, [(0, [1])] * 99 + [(1, [1] * 40)], memory_bytes=500_000)


def answering(tiny: Tiny, **facts: Any) -> tuple[Any, Parcel]:
    """A desk, and a request for a free answer to four prompts."""
    model, boundary, desk = split(tiny("llava"))
    sent = heard(boundary)
    model.answer([Example(e.id, e.images, e.prompt, (), e.answer) for e in examples()])
    parcel = wire.unpack(sent[0], max_bytes=1 << 20)
    parcel.facts |= facts
    return desk, parcel


def test_no_answer_may_run_past_what_the_model_reads(tiny: Tiny) -> None:
    desk, parcel = answering(tiny, longest=60)  # of 64 places
    with pytest.raises(FedloomError, match="the model reads 64 in all"):
        desk.read("a", wire.pack(parcel))


def test_nobody_has_the_model_work_without_end(tiny: Tiny) -> None:
    desk, parcel = answering(tiny)
    desk.most = 60
    with pytest.raises(FedloomError, match="the generated answers take 64 places"):
        desk.read("a", wire.pack(parcel))
    desk.most = 30
    with pytest.raises(FedloomError, match="4 rows of up to 13 places take 52 places"):
        desk.read("a", wire.pack(parcel))


def test_scales_that_are_no_bfloat16_are_refused(tiny: Tiny) -> None:
    tree = put("z", torch.ones(3, 70), "int8")
    assert take(tree, "z", (3, 70)).shape == (3, 70)
    tree["z.scales"] = torch.full((4,), 1e300, dtype=torch.float64)
    with pytest.raises(FedloomError, match="int8 with its blocks' scales"):
        take(tree, "z", (3, 70))


def test_nan_never_leaves(tiny: Tiny) -> None:
    for numbers in ("fp32", "bf16", "int8"):
        model, _, _ = split(tiny("llava"), numbers=numbers)
        model.write({name: torch.full_like(value, torch.nan) for name, value in model.read().items()})
        with pytest.raises(FedloomError, match="NaN or infinity"):
            model.loss(model.collate(examples()))
