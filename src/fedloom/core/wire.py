"""Bytes between processes: safetensors with one JSON text beside them, everything checked before use.

    [8 bytes: header length][header: JSON with names, types, shapes, offsets and our own facts][tensors]

A tensor is called ``slot/name``. Nothing here can execute anything: there is no pickle.
"""

import json
import math
import re
import struct
from collections.abc import Mapping
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from fedloom.core.contracts import Parcel, Tree
from fedloom.core.errors import FedloomError
from fedloom.core.tree import finite

Expected = Mapping[str, Mapping[str, tuple[int, ...] | Tensor]]
"""Slot -> name -> what the tensor must be: a shape (of any floating type), or a tensor of that shape and type."""

MAX_HEADER = 16 * 2**20
"""Bytes of header: some 100,000 tensors. The length is read before anything else is believed."""

VERSION = 1
KEY = "fedloom"
DTYPES = {"F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8"}
PART = re.compile(r"(memory|rank|mask|format)\.[a-z]+|layout")
"""The names of a coded slot's further tensors."""
SLOT = re.compile(r"[A-Za-z0-9_.-]+")


def pack(parcel: Parcel) -> bytes:
    """The parcel as bytes, the same for the same parcel; tensors keep their exact bits.

    Raises:
        FedloomError: a slot's name, a tensor's type or a fact cannot travel.
    """
    tensors: Tree = {}
    taken: set[int] = set()
    for slot, tree in parcel.trees.items():
        if not SLOT.fullmatch(slot):
            raise FedloomError(f"Parcel: slot {slot!r} must be letters, digits, '_', '.', '-'.")
        tensors |= {f"{slot}/{name}": _alone(value, taken) for name, value in tree.items()}
    _check_facts(parcel.facts)
    text = json.dumps({"version": VERSION, "slots": sorted(parcel.trees), "facts": parcel.facts}, sort_keys=True)
    blob = save(tensors, metadata={KEY: text})
    _header(blob)  # what the other side would refuse is refused here
    return blob


def unpack(blob: bytes, *, max_bytes: int, expected: Expected | None = None) -> Parcel:
    """The parcel that ``blob`` holds, after every check; ``expected`` as for ``check``.

    Raises:
        FedloomError: more than ``max_bytes``, cut short, no safetensors, not ours, a type that is not known, NaN or
            infinity, or not what was expected; the message names the tensor, slot or fact.
    """
    if len(blob) > max_bytes:
        raise FedloomError(f"Parcel: {len(blob)} bytes are more than the {max_bytes} allowed.")
    meta = _header(blob)
    try:
        tensors = load(bytes(blob))
    except (SafetensorError, ValueError, RuntimeError, AssertionError) as error:
        raise FedloomError(f"Parcel: not valid safetensors: {error}. It was cut short or changed on its way.") from None
    parcel = Parcel({slot: {} for slot in meta["slots"]}, meta["facts"])
    for full_name, value in sorted(tensors.items()):
        slot, _, name = full_name.partition("/")
        if slot not in parcel.trees or not name:
            raise FedloomError(f"Parcel: tensor {full_name!r} belongs to none of the slots {sorted(parcel.trees)}.")
        parcel.trees[slot][name] = value
    check(parcel, expected or {})
    return parcel


def facts(head: bytes) -> dict[str, Any]:
    """The facts of a parcel of which only the beginning is here, up to the end of its header.

    Raises:
        FedloomError: as ``unpack``, of what stands in the header.
    """
    found: dict[str, Any] = _header(head)["facts"]
    return found


def sizes(blob: bytes) -> dict[str, int]:
    """Where the bytes of a packed parcel go: ``header``, and each slot; they add up to all of them.

    Parts of a coded slot are told apart: ``adapter`` holds its values, ``adapter.mask.indices`` what comes besides.
    """
    (length,) = struct.unpack("<Q", blob[:8])
    found = {"header": 8 + length}
    for full_name, entry in json.loads(blob[8 : 8 + length]).items():
        if full_name != "__metadata__":
            slot, _, name = full_name.partition("/")
            kind = f"{slot}.{name}" if PART.fullmatch(name) else slot
            begin, end = entry["data_offsets"]
            found[kind] = found.get(kind, 0) + end - begin
    return found


def check(parcel: Parcel, expected: Expected) -> None:
    """Check that all values are finite and that each slot of ``expected`` holds what it must, nothing less or more.

    Raises:
        FedloomError: naming the first tensor that is missing, unexpected, of another shape or type, or not finite.
    """
    for slot, wanted in expected.items():
        if slot not in parcel.trees:
            raise FedloomError(f"Parcel: slot {slot!r} is missing; it holds {sorted(parcel.trees)}.")
        _check_slot(slot, parcel.trees[slot], wanted)
    for slot, tree in parcel.trees.items():
        for name, value in tree.items():
            if value.is_floating_point() and not finite(value):
                raise FedloomError(f"Parcel: tensor '{slot}/{name}' holds NaN or infinity. Lower client.lr.")


def _alone(value: Tensor, taken: set[int]) -> Tensor:
    """The tensor on the CPU in memory of its own; copied where it is part of another, or ``taken`` has its memory.

    safetensors refuses views and tensors that share memory, both of which a method may well send.
    """
    value = value.detach().cpu().contiguous()
    memory = value.untyped_storage()
    if memory.nbytes() != value.nbytes or memory.data_ptr() in taken:
        value = value.clone()
    taken.add(value.untyped_storage().data_ptr())
    return value


def _check_slot(slot: str, tree: Tree, wanted: Mapping[str, tuple[int, ...] | Tensor]) -> None:
    for name in sorted(tree.keys() ^ wanted.keys()):
        problem = "is missing" if name in wanted else "is not expected"
        raise FedloomError(f"Parcel: tensor '{slot}/{name}' {problem}. Both sides must train the same adapter.")
    for name, value in tree.items():
        want = wanted[name]
        shape = tuple(want.shape) if isinstance(want, Tensor) else tuple(want)
        right_type = value.dtype == want.dtype if isinstance(want, Tensor) else value.is_floating_point()
        if tuple(value.shape) != shape or not right_type:
            kind = want.dtype if isinstance(want, Tensor) else "floating"
            raise FedloomError(
                f"Parcel: tensor '{slot}/{name}' is {value.dtype} {list(value.shape)}, expected {kind} {list(shape)}."
            )


def _header(blob: bytes) -> dict[str, Any]:
    """Our own part of the header, after checking the header's length, the tensors' types and its schema."""
    if len(blob) < 8:
        raise FedloomError(f"Parcel: {len(blob)} bytes are no safetensors file; it was cut short.")
    (length,) = struct.unpack("<Q", blob[:8])
    if length > MAX_HEADER:
        raise FedloomError(f"Parcel: a header of {length} bytes is more than the {MAX_HEADER} allowed.")
    if length > len(blob) - 8:
        raise FedloomError(f"Parcel: the header has {len(blob) - 8} of its {length} bytes; it was cut short.")
    header = _json(blob[8 : 8 + length], "header")
    for name, entry in header.items():
        dtype = entry.get("dtype") if isinstance(entry, dict) else None
        if name != "__metadata__" and not (isinstance(dtype, str) and dtype in DTYPES):
            raise FedloomError(f"Parcel: tensor {name!r} is of type {dtype!r}; known: {', '.join(sorted(DTYPES))}.")
    outer = header.get("__metadata__")
    text = outer.get(KEY) if isinstance(outer, dict) else None
    if not isinstance(text, str):
        raise FedloomError(f"Parcel: there is no {KEY!r} text in the header; fedloom did not write this.")
    meta = _json(text, "metadata")
    slots, facts = meta.get("slots"), meta.get("facts")
    if meta.get("version") != VERSION:
        raise FedloomError(
            f"Parcel: version {meta.get('version')!r}, expected {VERSION}. Both sides need the same fedloom."
        )
    if not isinstance(slots, list) or not all(isinstance(slot, str) and SLOT.fullmatch(slot) for slot in slots):
        raise FedloomError(f"Parcel: 'slots' is {slots!r}, expected a list of names.")
    if not isinstance(facts, dict):
        raise FedloomError(f"Parcel: 'facts' is {facts!r}, expected names with values.")
    _check_facts(facts)
    return meta


def _json(text: bytes | str, what: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise FedloomError(f"Parcel: the {what} is no valid JSON. It was cut short or changed on its way.") from None
    if not isinstance(value, dict):
        raise FedloomError(f"Parcel: the {what} is {type(value).__name__}, expected names with values.")
    return value


def _check_facts(facts: Mapping[str, object]) -> None:
    for name, value in facts.items():
        whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
        real = isinstance(value, float) and math.isfinite(value)
        if not (isinstance(name, str) and (isinstance(value, str) or whole or real)):
            raise FedloomError(f"Parcel: fact {name!r} is {value!r}, expected text, a finite number or int64.")
