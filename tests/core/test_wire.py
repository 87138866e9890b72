"""Bytes: what goes in comes out bit for bit, and whatever is wrong is refused by name."""

import contextlib
import json
import struct

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from fedloom.core import wire
from fedloom.core.contracts import Parcel, Tree
from fedloom.core.errors import FedloomError
from fedloom.core.tree import fingerprint

LIMIT = 10**6
FLOATS = {torch.float64: 64, torch.float32: 32, torch.float16: 16, torch.bfloat16: 16}
INTS = {torch.int64: 63, torch.int32: 31, torch.int16: 15, torch.int8: 7}


def parcel() -> Parcel:
    adapter = {"m.lora_A.weight": torch.arange(6.0).reshape(2, 3), "m.lora_B.weight": torch.ones(4, 2)}
    return Parcel({"adapter": adapter, "empty": {}}, {"examples": 7, "loss": 0.25, "note": "x"})


def crafted(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def meta(**changes: object) -> dict[str, str]:
    return {"fedloom": json.dumps({"version": 1, "slots": ["adapter"], "facts": {}} | changes)}


@st.composite
def tensors(draw: st.DrawFn) -> torch.Tensor:
    shape = draw(st.lists(st.integers(0, 3), max_size=3))
    dtype = draw(st.sampled_from([*FLOATS, *INTS, torch.uint8]))
    if dtype in FLOATS:
        biggest = {64: 1e300, 32: 1e38, 16: 6e4}[FLOATS[dtype]]
        values = st.floats(-biggest, biggest)
    else:
        values = st.integers(0, 255) if dtype == torch.uint8 else st.integers(-(2 ** INTS[dtype]), 2 ** INTS[dtype] - 1)
    count = int(torch.tensor(shape).prod()) if shape else 1
    flat = draw(st.lists(values, min_size=count, max_size=count))
    return torch.tensor(flat, dtype=torch.float64 if dtype in FLOATS else dtype).to(dtype).reshape(shape)


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
SLOTS = st.from_regex(r"[a-z][a-z_.-]{0,7}", fullmatch=True)
FACTS = st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**62), 2**62), st.text(max_size=8))


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(SLOTS, st.dictionaries(NAMES, tensors(), max_size=3), max_size=3), st.dictionaries(NAMES, FACTS))
def test_round_trip_is_bit_exact(trees: dict[str, Tree], facts: dict[str, float | int | str]) -> None:
    blob = wire.pack(Parcel(trees, facts))
    back = wire.unpack(blob, max_bytes=len(blob))
    assert {slot: fingerprint(tree) for slot, tree in back.trees.items()} == {
        s: fingerprint(t) for s, t in trees.items()
    }
    assert back.facts == facts
    assert {k: type(v) for k, v in back.facts.items()} == {k: type(v) for k, v in facts.items()}
    assert wire.pack(back) == blob


def test_views_and_shared_memory_travel() -> None:
    whole = torch.arange(12.0).reshape(3, 4)
    sent = Parcel({"a": {"w": whole, "t": whole.T, "cut": whole[:, :2]}, "b": {"w": whole}})
    back = wire.unpack(wire.pack(sent), max_bytes=LIMIT)
    assert all(torch.equal(back.trees[s][n], value) for s, tree in sent.trees.items() for n, value in tree.items())


def test_what_is_unpacked_may_be_written_to() -> None:
    value = wire.unpack(wire.pack(parcel()), max_bytes=LIMIT).trees["adapter"]["m.lora_B.weight"]
    value.add_(1)
    assert value.sum() == 16


def test_every_cut_is_refused() -> None:
    blob = wire.pack(parcel())
    for cut in range(len(blob)):
        with pytest.raises(FedloomError, match="Parcel"):
            wire.unpack(blob[:cut], max_bytes=LIMIT)
    with pytest.raises(FedloomError, match="not valid safetensors"):
        wire.unpack(blob + b"\0", max_bytes=LIMIT)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_changed_bytes_give_a_parcel_or_our_error(data: st.DataObject) -> None:
    blob = bytearray(wire.pack(parcel()))
    for _ in range(data.draw(st.integers(1, 3))):
        blob[data.draw(st.integers(0, len(blob) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(FedloomError):
        wire.unpack(bytes(blob), max_bytes=LIMIT)


def test_too_large_is_refused_before_it_is_read() -> None:
    blob = wire.pack(parcel())
    assert wire.unpack(blob, max_bytes=len(blob)).facts == parcel().facts
    with pytest.raises(FedloomError, match=f"{len(blob)} bytes are more than the {len(blob) - 1} allowed"):
        wire.unpack(blob, max_bytes=len(blob) - 1)


@pytest.mark.parametrize(
    ("blob", "problem"),
    [
        (struct.pack("<Q", 2**62) + b"{}", "more than the .* allowed"),
        (struct.pack("<Q", wire.MAX_HEADER) + b"{}", "has 2 of its .* bytes; it was cut short"),
        (crafted(b"\xff\xfe"), "no valid JSON"),
        (crafted(b"[" * 100_000), "no valid JSON"),
        (crafted([1]), "header is list"),
        (crafted({}), "no 'fedloom' text"),
        (crafted({"__metadata__": {"other": "x"}}), "no 'fedloom' text"),
        (crafted({"__metadata__": {"fedloom": "{"}}), "metadata is no valid JSON"),
        (crafted({"__metadata__": {"fedloom": "7"}}), "metadata is int"),
        (crafted({"__metadata__": meta(version=2)}), "version 2, expected 1"),
        (crafted({"__metadata__": meta(slots="adapter")}), "'slots' is 'adapter'"),
        (crafted({"__metadata__": meta(slots=["a/b"])}), "'slots' is"),
        (crafted({"__metadata__": meta(facts=[])}), r"'facts' is \[\]"),
        (crafted({"__metadata__": meta(facts={"loss": float("nan")})}), "fact 'loss' is nan"),
        (crafted({"__metadata__": meta(facts={"loss": float("inf")})}), "fact 'loss' is inf"),
        (crafted({"__metadata__": meta(facts={"steps": True})}), "fact 'steps' is True"),
        (crafted({"__metadata__": meta(facts={"steps": 10**30})}), "fact 'steps' is 1000"),
        (crafted({"__metadata__": meta(facts={"steps": [1]})}), r"fact 'steps' is \[1\]"),
        (save({"adapter/w": torch.ones(2, dtype=torch.bool)}, meta()), "'adapter/w' is of type 'BOOL'"),
        (save({"adapter/w": torch.ones(2, dtype=torch.complex64)}, meta()), "'adapter/w' is of type 'C64'"),
        (save({"other/w": torch.ones(2)}, meta()), "'other/w' belongs to none of the slots"),
        (save({"w": torch.ones(2)}, meta()), "'w' belongs to none"),
        (save({"adapter/": torch.ones(2)}, meta()), "'adapter/' belongs to none"),
        (
            crafted(
                {"__metadata__": meta(), "adapter/w": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 4]}},
                b"0000",
            ),
            "not valid safetensors",
        ),
    ],
)
def test_refused_by_name(blob: bytes, problem: str) -> None:
    with pytest.raises(FedloomError, match=problem):
        wire.unpack(blob, max_bytes=LIMIT)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", list(FLOATS))
def test_values_that_are_not_finite_are_refused(bad: float, dtype: torch.dtype) -> None:
    blob = wire.pack(Parcel({"adapter": {"fine": torch.ones(2), "w": torch.tensor([0.0, bad], dtype=dtype)}}))
    with pytest.raises(FedloomError, match="'adapter/w' holds NaN or infinity"):
        wire.unpack(blob, max_bytes=LIMIT)


@pytest.mark.parametrize(
    ("wanted", "problem"),
    [
        ({"w": (2, 3), "v": (1,)}, "'adapter/v' is missing"),
        ({}, "'adapter/w' is not expected"),
        ({"w": (3, 2)}, r"torch.float16 \[2, 3\], expected floating \[3, 2\]"),
        ({"w": torch.ones(2, 3)}, r"torch.float16 \[2, 3\], expected torch.float32 \[2, 3\]"),
    ],
)
def test_what_is_not_as_expected_is_refused(wanted: dict[str, tuple[int, ...]], problem: str) -> None:
    blob = wire.pack(Parcel({"adapter": {"w": torch.ones(2, 3, dtype=torch.float16)}, "control": {"c": torch.ones(1)}}))
    with pytest.raises(FedloomError, match=problem):
        wire.unpack(blob, max_bytes=LIMIT, expected={"adapter": wanted})


def test_what_is_as_expected_passes() -> None:
    blob = wire.pack(parcel())
    shapes = {name: tuple(value.shape) for name, value in parcel().trees["adapter"].items()}
    assert wire.unpack(blob, max_bytes=LIMIT, expected={"adapter": shapes, "empty": {}}).facts["examples"] == 7
    wire.check(parcel(), {"adapter": parcel().trees["adapter"]})
    with pytest.raises(FedloomError, match=r"slot 'control' is missing; it holds \['adapter', 'empty'\]"):
        wire.unpack(blob, max_bytes=LIMIT, expected={"control": {}})
    whole = wire.pack(Parcel({"adapter": {"w": torch.ones(2, dtype=torch.int8)}}))
    with pytest.raises(FedloomError, match=r"is torch\.int8"):
        wire.unpack(whole, max_bytes=LIMIT, expected={"adapter": {"w": (2,)}})


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (Parcel({"a/b": {}}), "slot 'a/b'"),
        (Parcel({"a": {"w": torch.ones(1, dtype=torch.bool)}}), "'a/w' is of type 'BOOL'"),
        (Parcel(facts={"loss": float("nan")}), "fact 'loss' is nan"),
    ],
)
def test_what_cannot_be_read_is_not_written(bad: Parcel, problem: str) -> None:
    with pytest.raises(FedloomError, match=problem):
        wire.pack(bad)


def test_sizes_add_up_and_tell_coded_parts_apart() -> None:
    coded = {"values": torch.ones(3), "mask.indices": torch.ones(5, dtype=torch.uint8), "layout_proj": torch.ones(2)}
    blob = wire.pack(Parcel({"adapter": coded, "control": {"a": torch.ones(4)}}))
    found = wire.sizes(blob)
    assert {part: found[part] for part in found if part != "header"} == {
        "adapter": 20, "adapter.mask.indices": 5, "control": 16
    }  # fmt: skip
    assert sum(found.values()) == len(blob)
