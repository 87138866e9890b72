"""What an example lost, taken from the nearest of others that have both modalities (``modality.fill = "retrieved"``).

    text lost:      the text of the example whose picture is nearest       both by a cosine, which needs no model:
    picture lost:   the picture of the example whose text is nearest       ties go to the lower id

A picture's features are the 8 x 8 x 3 values of its thumbnail less their mean, a text's how often it has each word, in
lower case. Both are whole numbers, or become such: the same neighbours are found on every machine.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from PIL import Image
from scipy import sparse

from fedloom.core import limits
from fedloom.core.contracts import Picture, Sample, present
from fedloom.core.pictures import open_picture

SIDE = 8
"""Pixels of a thumbnail's side."""

DIGITS = 9
"""Cosines that agree to so many are one: no platform's last bits decide."""

ROWS = 1024
"""Examples that are compared with all sources at once."""


@dataclass(frozen=True)
class Nearest:
    """Finds neighbours; the features of each picture are computed once."""

    _known: dict[int, tuple[Picture, np.ndarray]] = field(default_factory=dict)

    def filled(self, before: Sequence[Sample], after: Sequence[Sample], sources: Sequence[Sample]) -> list[Sample]:
        """``after`` with what each example of ``before`` lost. One that lost both, or all where no source has both,
        stays as it is; so does what was never there."""
        found, whole = list(after), sorted((s for s in sources if present(s) == "image+text"), key=lambda one: one.id)
        pairs = list(enumerate(zip(before, after, strict=True)))
        worded = [place for place, (was, now) in pairs if was.text and not now.text and now.images]
        shown = [place for place, (was, now) in pairs if was.images and not now.images and now.text]
        if whole and worded:
            places = _nearest(self._pictures([after[n] for n in worded]), self._pictures(whole))
            for place, near in zip(worded, places, strict=True):
                found[place] = replace(found[place], text=whole[near].text)
        if whole and shown:
            for place, near in zip(shown, _nearest(*_words([after[n] for n in shown], whole)), strict=True):
                found[place] = replace(found[place], images=whole[near].images)
        return found

    def _pictures(self, samples: Sequence[Sample]) -> np.ndarray:
        """Features ``[n, 192]`` of the first picture of each sample."""
        return np.stack([self._features(sample.images[0]) for sample in samples if sample.images])

    def _features(self, picture: Picture) -> np.ndarray:
        if id(picture) not in self._known:
            limits.tick()
            self._known[id(picture)] = picture, features(picture)
        return self._known[id(picture)][1]


def features(picture: Picture) -> np.ndarray:
    """192 whole numbers: the values of the 8 x 8 thumbnail less their mean, times 192."""
    small = open_picture(picture).resize((SIDE, SIDE), Image.Resampling.BOX)
    values: np.ndarray = np.asarray(small, dtype=np.int64).reshape(-1)
    centred: np.ndarray = values * values.size - values.sum()
    return centred


def _words(asked: Sequence[Sample], sources: Sequence[Sample]) -> tuple[Any, Any]:
    """Word counts of both, sparse ``[n, words]``."""
    counts = [Counter(re.findall(r"\w+", (sample.text or "").lower())) for sample in (*asked, *sources)]
    column = {word: place for place, word in enumerate(sorted({word for count in counts for word in count}))}
    rows = [row for row, count in enumerate(counts) for _ in count]
    columns = [column[word] for count in counts for word in count]
    values = [number for count in counts for number in count.values()]
    found = sparse.csr_array((values, (rows, columns)), shape=(len(counts), max(1, len(column))), dtype=np.int64)
    return found[: len(asked)], found[len(asked) :]


def _nearest(asked: Any, sources: Any) -> list[int]:
    """The row of ``sources`` with the largest cosine, the first of several, for each row of ``asked``."""
    found: list[int] = []
    lengths = _lengths(sources)
    for begin in range(0, asked.shape[0], ROWS):
        limits.tick()
        part = asked[begin : begin + ROWS]
        products = part @ sources.T
        dense = products.toarray() if sparse.issparse(products) else products
        cosines = dense / np.outer(_lengths(part), lengths)
        found += np.round(cosines, DIGITS).argmax(axis=1).tolist()
    return found


def _lengths(rows: Any) -> np.ndarray:
    """Euclidean lengths; 1 of a row of zeros, whose cosines are then 0."""
    squares = np.asarray((rows * rows).sum(axis=1), dtype=np.float64).reshape(-1)
    return np.sqrt(np.where(squares > 0, squares, 1.0))
