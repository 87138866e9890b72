"""A request from what came over the wire: each part of it checked against what the language model can take."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fedloom.core.contracts import Parcel
from fedloom.core.passage import Codes, LanguageModel, Speech
from fedloom.split.errors import Refused
from fedloom.split.messages import ROWS, Kind, Request, Wire, codes_of, fact, number, padded, whole
from fedloom.split.numbers import Numbers, take

KEY = 64
"""Characters of a row's name, at most."""

MOST_CONTINUATIONS = 16384
"""Continuations of a request, at most."""

AT_ONCE = 256
"""Continuations that are scored at a time, at most (``models/decoding.py``)."""

COPIES = 64
"""How often the places of a request may be read again for its continuations, counted in the places that it may have."""

LONGEST_ANSWER = 1024
"""Ids of a generated answer, at most."""


@dataclass(frozen=True)
class Room:
    """What one request may ask for: ``places`` of the model, padding among them, and ``memory_bytes`` of what is made
    of them in float32."""

    places: int
    memory_bytes: int

    def check(self, places: int, numbers: int, what: str) -> None:
        """Refuse so many places, or their so many numbers each.

        Raises:
            Refused: they are more than the host has room for.
        """
        if places > self.places or 4 * places * numbers > self.memory_bytes:
            raise Refused(
                f"split: {what} take {places} places and {4 * places * numbers} bytes, more than the host's "
                f"{self.places} and {self.memory_bytes}. Lower client.batch_size, or give the host more (--memory-mb)."
            )


def kind(parcel: Parcel) -> Kind:
    """What is asked.

    Raises:
        Refused: nothing that is known.
    """
    found: Kind = fact(parcel, "kind", Kind, "")
    return found


def keys(parcel: Parcel) -> list[str]:
    """The names of the rows, in order.

    Raises:
        Refused: there are none, or too many.
    """
    text = parcel.facts.get("keys")
    found = text.split(",") if isinstance(text, str) and text else []
    if not 0 < len(found) <= ROWS or len(set(found)) < len(found) or not all(0 < len(key) <= KEY for key in found):
        raise Refused(
            f"split: keys name {len(found)} rows, expected 1 to {ROWS} different names of at most {KEY} characters."
        )
    return found


def base(parcel: Parcel, named: Sequence[str], language: LanguageModel) -> dict[str, Tensor]:
    """The rows that come with a request, by key: ``[T, d]``, on the CPU; of coarse numbers, in bfloat16.

    Raises:
        Refused: a row that is not named, or of another width.
    """
    tree = parcel.trees.get("base", {})
    found: dict[str, Tensor] = {}
    for name, value in tree.items():
        if name.endswith(".scales"):
            continue
        if name not in named:
            raise Refused(f"split: row {name!r} is not one of those that are named.")
        length = value.shape[0] if value.ndim == 2 else 0
        if not 0 < length <= language.longest:
            raise Refused(f"split: row {name!r} is {list(value.shape)}, expected [1 to {language.longest}, d].")
        row = take(tree, name, (length, language.width))
        found[name] = row if value.dtype == torch.float32 else row.bfloat16()
    return found


def request(parcel: Parcel, kind: Kind, named: Sequence[Tensor], language: LanguageModel, room: Room) -> Request:
    """All that a request says; ``named``: its rows' base, where they have names.

    Raises:
        Refused: some of it is missing, of another type or shape, or more than the model can take.
    """
    how: Wire = fact(parcel, "wire", Wire, "full")
    numbers: Numbers = fact(parcel, "numbers", Numbers, "fp32")
    lengths = whole(parcel.trees.get("rows", {}), "lengths", least=1, most=language.longest, longest=ROWS)
    room.check(len(lengths) * max(lengths), language.width, f"{len(lengths)} rows of up to {max(lengths)} places")
    learns = bool(parcel.facts.get("learn", 0)) and kind in ("loss", "backward")
    rows, codes = _rows(parcel, named, lengths, language), _codes(parcel, how, lengths, language)
    bare = Request(kind, numbers, how, learns, rows, codes, _positions(parcel, lengths, language))
    if kind in ("rank", "generate"):
        room.check(len(lengths) * len(set(lengths)), language.vocabulary, "the logits after the rows")
    if kind == "rank":
        listed = _continuations(parcel, lengths, language, room)
        found = replace(bare, continuations=listed, speech=_speech(parcel, language))
        return _within(found, max(len(ids) for _, ids in found.continuations), language)
    if kind == "generate":
        longest = int(number(parcel, "longest", 1, min(LONGEST_ANSWER, language.longest)))
        room.check(len(lengths) * longest, 1, "the generated answers")
        return _within(replace(bare, longest=longest, speech=_speech(parcel, language)), longest, language)
    found = _to_predict(parcel, bare, lengths, language)
    kept = min(max(lengths), sum(found.counts))  # distinct places, at most
    room.check(len(lengths) * kept, language.vocabulary, "the logits of the answers")
    return found


def _rows(
    parcel: Parcel, named: Sequence[Tensor], lengths: Sequence[int], language: LanguageModel
) -> tuple[Tensor, ...]:
    if not named:
        whole_rows = take(parcel.trees["rows"], "embeddings", (sum(lengths), language.width))
        return tuple(torch.split(whole_rows, list(lengths)))
    if [len(row) for row in named] != list(lengths):
        raise Refused(f"split: the rows have {[len(row) for row in named]} places, 'lengths' says {list(lengths)}.")
    return tuple(named)


def _codes(parcel: Parcel, how: Wire, lengths: Sequence[int], language: LanguageModel) -> tuple[Codes, ...]:
    if how == "full":
        return ()
    which, count = parcel.trees["rows"].get("which"), sum(lengths)
    if which is None or which.dtype != torch.uint8 or which.shape != (count,):
        raise Refused(f"split: 'which' must be uint8 [{count}]: of which adapter each place is.")
    places, mask = padded(which, lengths)
    return codes_of(parcel, places, mask, language.width)


def _positions(parcel: Parcel, lengths: Sequence[int], language: LanguageModel) -> Tensor | None:
    found, count = parcel.trees["rows"].get("positions"), sum(lengths)
    if found is None:
        return None
    axes = int(number(parcel, "axes", 0, 4))
    if found.dtype != torch.int32 or found.shape != (max(1, axes), count):
        raise Refused(f"split: positions are {found.dtype} {list(found.shape)}, expected int32 [axes, {count}].")
    if not (int(found.min()) >= 0 and int(found.max()) < language.longest):
        raise Refused(f"split: positions must be from 0 to {language.longest - 1}.")
    each = torch.stack([padded(axis, lengths)[0] for axis in found.long()])
    return each if axes else each[0]


def _within(request: Request, more: int, language: LanguageModel) -> Request:
    """The request, if the model can read ``more`` places after its rows.

    Raises:
        Refused: it cannot.
    """
    last = max(request.lengths)
    if request.positions is not None:
        last = max(last, int(request.positions.max()) + 1)
    if last + more > language.longest:
        raise Refused(f"split: rows of {last} places and answers of {more}; the model reads {language.longest} in all.")
    return request


def _to_predict(parcel: Parcel, bare: Request, lengths: Sequence[int], language: LanguageModel) -> Request:
    """The request with what its rows are to predict, and what that is differentiated by."""
    tree = parcel.trees.get("answer", {})
    counts = whole(tree, "counts", least=1, most=max(lengths), count=len(lengths))
    if any(count > length for count, length in zip(counts, lengths, strict=True)):
        raise Refused("split: an answer is longer than its row.")
    found = replace(bare, counts=tuple(counts))
    if bare.kind == "loss":
        labels = whole(tree, "labels", least=0, most=language.vocabulary - 1, count=sum(counts))
        weights = take(tree, "weights", (len(counts),)) if "weights" in tree else None
        return replace(found, labels=torch.tensor(labels), weights=weights)
    if bare.kind == "backward":
        shape = (sum(counts), language.vocabulary)
        return replace(found, gradient=take(parcel.trees.get("gradient", {}), "logits", shape))
    return found


def _continuations(
    parcel: Parcel, lengths: Sequence[int], language: LanguageModel, room: Room
) -> tuple[tuple[int, list[int]], ...]:
    tree = parcel.trees.get("continuations", {})
    rows = whole(tree, "rows", least=0, most=len(lengths) - 1, longest=MOST_CONTINUATIONS)
    counts = whole(tree, "counts", least=0, most=language.longest, count=len(rows))
    widest = 1 + max(counts)  # each with its end
    room.check(sum(counts) + len(counts), 1, "the continuations")
    room.check(min(AT_ONCE, len(counts)) * widest, language.vocabulary, "the logits of the continuations")
    if (again := sum(lengths[row] for row in rows)) > COPIES * room.places:
        raise Refused(
            f"split: {len(rows)} continuations read {again} places of their rows again, of {COPIES * room.places} at "
            "most. Fewer choices, or shorter prompts."
        )
    ids = whole(tree, "ids", least=0, most=language.vocabulary - 1, count=sum(counts))
    found, begin = [], 0
    for row, count in zip(rows, counts, strict=True):
        found.append((row, ids[begin : begin + count]))
        begin += count
    return tuple(found)


def _speech(parcel: Parcel, language: LanguageModel) -> Speech:
    end = int(number(parcel, "end", 0, language.vocabulary - 1))
    tree = parcel.trees.get("speech", {})
    if not tree:
        return Speech(end)
    rank = tree["down"].shape[0] if "down" in tree and tree["down"].ndim == 2 else 0
    down, up = take(tree, "down", (rank, language.width)), take(tree, "up", (language.width, rank))
    return Speech(end, (down, up, float(number(parcel, "scale", -1e6, 1e6))))
