"""What client and host say to each other: requests and answers as parcels of ``core/wire.py``, checked before use.

    rows       lengths [B], positions [axes, S]?, embeddings [S, d] of rows without names, which [S] (wire "low-rank")
    base       KEY: h [T, d]                                        each row that has a name, once; fact keys: the names
    codes      image.z [n, r], image.up [d, r], text.z, text.up     facts image.scale, text.scale
    answer     counts [B], labels [N]                               how many ids end each row, and which (labels shared)
    gradient   embeddings [S, d]; or image.z, image.up, text.z, text.up; or logits [N, V]

S is the number of real places of all rows and N that of the ids to predict: padding does not travel.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from fedloom.core import wire
from fedloom.core.contracts import Parcel, Tree
from fedloom.core.errors import FedloomError
from fedloom.core.passage import IGNORE, Codes, Passage, Speech, Target, Where
from fedloom.split.errors import Refused
from fedloom.split.numbers import Numbers, put, take

Kind = Literal["hello", "loss", "logits", "backward", "rank", "generate", "forget"]
Wire = Literal["full", "low-rank"]

NOT_FINITE = "not_finite"
"""The fact that names the first row whose answer is none, since the model's numbers of it are not finite."""

ROWS = 4096
"""Rows of a request, at most."""

HEADER = 2 << 20
"""Bytes of a message's header, at most: that of ``ROWS`` rows with their names, in int8, has 1.4 MB."""

TENSORS = 2 * ROWS + 64
"""Tensors of a message, at most: each row and its scales, and what comes once."""

BITS: dict[Where, int] = {"image": 1, "text": 2}
"""Which adapter's place a place is, in ``rows/which``."""


def flat(values: Tensor, mask: Tensor) -> Tensor:
    """Real places alone: ``[B, T, ...]`` to ``[S, ...]``."""
    return values[mask]


def padded(values: Tensor, lengths: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Undoes ``flat``: ``[B, T, ...]``, zero where nothing is real, and the mask ``[B, T]``."""
    mask = torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]
    made = values.new_zeros(*mask.shape, *values.shape[1:])
    made[mask] = values
    return made, mask


def told(passage: Passage, how: Wire, numbers: Numbers, held: Collection[str] = ()) -> Parcel:
    """A passage as it travels. Rows that have names are held by the host, and those ``held`` do not travel again.

    Raises:
        Refused: NaN or infinity.
    """
    lengths = passage.mask.sum(dim=1).tolist()
    rows: Tree = {"lengths": _whole(lengths)}
    parcel = Parcel({"rows": rows}, {"numbers": numbers, "wire": how})
    if passage.positions is not None:
        axes = passage.positions if passage.positions.ndim == 3 else passage.positions[None]
        rows["positions"] = axes[:, passage.mask].to("cpu", torch.int32)
        parcel.facts["axes"] = len(axes) if passage.positions.ndim == 3 else 0
    if not passage.keys:
        rows |= put("embeddings", flat(passage.embeddings(), passage.mask), numbers)
        return parcel
    new = {key: row for row, key in enumerate(passage.keys) if key not in held}
    parcel.facts["keys"] = ",".join(passage.keys)
    base: Tree = {}
    for key, row in new.items():
        base |= put(key, passage.base[row, : lengths[row]], numbers)
    parcel.trees["base"] = base
    if how == "full":
        return parcel
    which = torch.zeros(passage.mask.shape, dtype=torch.uint8)
    codes: Tree = {}
    for part in passage.codes:
        which[part.places.cpu()] |= BITS[part.where]
        codes |= put(f"{part.where}.z", part.z, numbers) | put(f"{part.where}.up", part.up, "fp32")
        parcel.facts[f"{part.where}.scale"] = part.scale
    rows["which"] = flat(which, passage.mask.cpu())
    parcel.trees["codes"] = codes
    return parcel


def asked(target: Target, *, labels: bool) -> Tree:
    """How many ids end each row; with ``labels``, which."""
    real = target.wanted != IGNORE
    tree: Tree = {"counts": _whole(real.sum(dim=1).tolist())}
    return tree | ({"labels": target.wanted[real].to("cpu", torch.int32)} if labels else {})


def spoken(speech: Speech) -> tuple[Tree, dict[str, float | int | str]]:
    """How an answer is worded: slot ``speech`` and facts."""
    facts: dict[str, float | int | str] = {"end": speech.end}
    if speech.words is None:
        return {}, facts
    down, up, scale = speech.words
    return put("down", down, "fp32") | put("up", up, "fp32"), facts | {"scale": scale}


def listed(rows: Sequence[tuple[int, Sequence[int]]]) -> Tree:
    """Continuations, each of a row: ids of all, one after the other."""
    ids = [id for _, each in rows for id in each]
    return {"rows": _whole([row for row, _ in rows]), "counts": _whole([len(each) for _, each in rows])} | {
        "ids": _whole(ids)
    }


@dataclass(frozen=True)
class Request:
    """What a host reads: everything is of the right type and shape, and within what its model can take.

    ``rows``: each row's embeddings before ``codes`` are added ``[T, d]``, on the CPU, perhaps held for others too; the
    passage is made of them when it is computed, and not while the request waits. ``counts``: ids that end each row;
    ``labels``: which, flat, where they were told. ``gradient`` ``[N, V]``, ``weights`` ``[B]``: what the answer's
    logits, or losses, are differentiated by.
    """

    kind: Kind
    numbers: Numbers
    how: Wire
    learn: bool
    rows: tuple[Tensor, ...]
    codes: tuple[Codes, ...] = ()
    positions: Tensor | None = None
    counts: tuple[int, ...] = ()
    labels: Tensor | None = None
    gradient: Tensor | None = None
    weights: Tensor | None = None
    continuations: tuple[tuple[int, list[int]], ...] = ()
    speech: Speech = field(default_factory=lambda: Speech(0))
    longest: int = 0

    @property
    def lengths(self) -> list[int]:
        """Places of each row."""
        return [len(row) for row in self.rows]

    def passage(self, device: torch.device) -> Passage:
        """What the language model reads, on a device."""
        base, mask = padded(torch.cat([row.float() for row in self.rows]), self.lengths)
        return Passage(base, mask, self.codes, self.positions).to(device)


def whole(
    tree: Tree, name: str, *, least: int, most: int, count: int | None = None, longest: int | None = None
) -> list[int]:
    """A list of whole numbers of a request, each within bounds: ``count`` of them, or 1 to ``longest``.

    Raises:
        Refused: it is missing, of another type or length, or out of bounds.
    """
    value, fits = tree.get(name), f"{count}" if longest is None else f"1 to {longest}"
    length = len(value) if value is not None and value.ndim == 1 else -1
    right = length == count if longest is None else 0 < length <= longest
    if value is None or value.dtype != torch.int32 or not right:
        have = "missing" if value is None else f"{value.dtype} {list(value.shape)}"
        raise Refused(f"split: {name} is {have}, expected int32 [{fits}].")
    if len(value) and not (least <= int(value.min()) and int(value.max()) <= most):
        found = f"from {int(value.min())} to {int(value.max())}"
        raise Refused(f"split: {name} has numbers {found}, expected {least} to {most}.")
    return value.tolist()


def fact(parcel: Parcel, name: str, known: Any, default: str) -> Any:
    """A fact of a request that is one of a few words.

    Raises:
        Refused: it is another.
    """
    value = parcel.facts.get(name, default)
    if value not in get_args(known):
        raise Refused(f"split: {name} is {value!r}, expected one of {', '.join(get_args(known))}.")
    return value


def number(parcel: Parcel, name: str, least: float, most: float) -> float:
    """A fact of a request that is a number.

    Raises:
        Refused: it is missing, no number, or out of bounds.
    """
    value = parcel.facts.get(name)
    if not isinstance(value, int | float) or not least <= value <= most:
        raise Refused(f"split: {name} is {value!r}, expected a number from {least:g} to {most:g}.")
    return value


def codes_of(parcel: Parcel, which: Tensor, mask: Tensor, width: int) -> tuple[Codes, ...]:
    """The codes of a request, at their places ``[B, T]``.

    Raises:
        Refused: some of them are missing or do not fit.
    """
    found, tree = [], parcel.trees.get("codes", {})
    for where, bit in BITS.items():
        if f"{where}.up" not in tree:
            continue
        places = (which & bit).bool() & mask
        rank = tree[f"{where}.up"].shape[-1] if tree[f"{where}.up"].ndim == 2 else 0
        z = take(tree, f"{where}.z", (int(places.sum()), rank))
        up = take(tree, f"{where}.up", (width, rank))
        found.append(Codes(where, places, z, up, float(number(parcel, f"{where}.scale", -1e6, 1e6))))
    return tuple(found)


def opened(blob: bytes, max_bytes: int) -> Parcel:
    """A parcel of the other side.

    Raises:
        Refused: it is none, or larger or of more parts than may be.
    """
    length = int.from_bytes(blob[:8], "little")
    if length > HEADER:
        raise Refused(f"split: a header of {length} bytes is more than the {HEADER} allowed.")
    header = blob[8 : 8 + length]
    if header.count(b"{") + header.count(b"[") > 3 * TENSORS:  # of each tensor one and two; before any is parsed
        raise Refused(f"split: more tensors than the {TENSORS} allowed. Lower client.batch_size.")
    try:
        return wire.unpack(blob, max_bytes=max_bytes)
    except FedloomError as error:
        raise Refused(f"split: {error}") from None


def _whole(values: Sequence[int]) -> Tensor:
    return torch.tensor(values, dtype=torch.int32)
