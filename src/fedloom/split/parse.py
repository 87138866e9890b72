"""A request from what came over the wire: each part of it checked against what the language model can take."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from fedloom.core.contracts import Parcel
from fedloom.core.passage import LanguageModel, Passage, Speech
from fedloom.split.errors import Refused
from fedloom.split.messages import Kind, Request, Wire, codes_of, fact, number, padded, whole
from fedloom.split.numbers import Numbers, take

ROWS = 4096
"""Rows of a request, at most."""

MOST_CONTINUATIONS = 65536
"""Continuations of a request, at most."""

LONGEST_ANSWER = 4096
"""Ids of a generated answer, at most."""


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
    if not 0 < len(found) <= ROWS or not all(found):
        raise Refused(f"split: keys name {len(found)} rows, expected 1 to {ROWS}.")
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
        row = take(tree, name, (length, language.width))
        found[name] = row if value.dtype == torch.float32 else row.bfloat16()
    return found


def request(parcel: Parcel, kind: Kind, rows: Sequence[Tensor], language: LanguageModel, memory_bytes: int) -> Request:
    """All that a request says; ``rows``: its rows' base, where they have names.

    Raises:
        Refused: some of it is missing, of another type or shape, or more than the model can take.
    """
    how: Wire = fact(parcel, "wire", Wire, "full")
    numbers: Numbers = fact(parcel, "numbers", Numbers, "fp32")
    lengths = whole(parcel.trees.get("rows", {}), "lengths", least=1, most=language.longest)
    if not 0 < len(lengths) <= ROWS:
        raise Refused(f"split: {len(lengths)} rows, expected 1 to {ROWS}.")
    if (needed := len(lengths) * max(lengths) * language.width * 4) > memory_bytes:
        raise Refused(
            f"split: {len(lengths)} rows of up to {max(lengths)} places take {needed} bytes, more than the host's "
            f"{memory_bytes}. Lower client.batch_size, or give the host more (--memory-mb)."
        )
    learns = bool(parcel.facts.get("learn", 0)) and kind in ("loss", "backward")
    bare = Request(kind, numbers, how, learns, _passage(parcel, how, lengths, rows, language))
    if kind == "rank":
        return replace(bare, continuations=_continuations(parcel, lengths, language), speech=_speech(parcel, language))
    if kind == "generate":
        longest = int(number(parcel, "longest", 1, min(LONGEST_ANSWER, language.longest)))
        return replace(bare, longest=longest, speech=_speech(parcel, language))
    return _to_predict(parcel, bare, lengths, language)


def _passage(
    parcel: Parcel, how: Wire, lengths: Sequence[int], rows: Sequence[Tensor], language: LanguageModel
) -> Passage:
    tree, count = parcel.trees["rows"], sum(lengths)
    axes = int(number(parcel, "axes", 0, 4)) if "positions" in tree else 0
    positions = None
    if "positions" in tree:
        found = tree["positions"]
        if found.dtype != torch.int32 or found.shape != (max(1, axes), count):
            raise Refused(f"split: positions are {found.dtype} {list(found.shape)}, expected int32 [axes, {count}].")
        if count and not (int(found.min()) >= 0 and int(found.max()) < language.longest):
            raise Refused(f"split: positions must be from 0 to {language.longest - 1}.")
        each = torch.stack([padded(axis, lengths)[0] for axis in found.long()])
        positions = each if axes else each[0]
    if not rows:
        embeddings, mask = padded(take(tree, "embeddings", (count, language.width)), lengths)
        return Passage(embeddings, mask, positions=positions)
    if [len(row) for row in rows] != list(lengths):
        raise Refused(f"split: the rows have {[len(row) for row in rows]} places, 'lengths' says {list(lengths)}.")
    base, mask = padded(torch.cat([row.float() for row in rows]), lengths)
    if how == "full":
        return Passage(base, mask, positions=positions)
    which = tree.get("which")
    if which is None or which.dtype != torch.uint8 or which.shape != (count,):
        raise Refused(f"split: 'which' must be uint8 [{count}]: of which adapter each place is.")
    return Passage(base, mask, codes_of(parcel, padded(which, lengths)[0], mask, language.width), positions)


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
    parcel: Parcel, lengths: Sequence[int], language: LanguageModel
) -> tuple[tuple[int, list[int]], ...]:
    tree = parcel.trees.get("continuations", {})
    rows = whole(tree, "rows", least=0, most=len(lengths) - 1)
    counts = whole(tree, "counts", least=0, most=language.longest, count=len(rows))
    ids = whole(tree, "ids", least=0, most=language.vocabulary - 1, count=sum(counts))
    if not 0 < len(rows) <= MOST_CONTINUATIONS:
        raise Refused(f"split: {len(rows)} continuations, expected 1 to {MOST_CONTINUATIONS}.")
    found, begin = [], 0
    for row, count in zip(rows, counts, strict=True):
        if lengths[row] + count > language.longest:
            raise Refused(f"split: a row and its continuation have more than {language.longest} places.")
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
