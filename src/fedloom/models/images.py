"""A backbone's way from pictures to tensors: preprocessed pixels and frozen features, each computed once."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from fedloom.core.contracts import Picture, Tree
from fedloom.core.device import device
from fedloom.core.pictures import open_picture
from fedloom.models.families.family import stacked
from fedloom.models.features import FeatureCache
from fedloom.models.pictures import Digests

_TOGETHER = 8  # the one batch size of frozen features: a row's bits do not depend on its place or its neighbours


class Images:
    """Pictures as the model takes them. ``encode`` maps a batch of pixels to what the frozen part makes of it; ``None``
    where that part learns: then pixels are what is kept, in memory alone. ``key(part, digest)`` names a cache entry.

    ``part``: the cache's name for what ``encode`` makes. ``join`` makes a batch of pictures' trees; ``together``: how
    many pictures ``encode`` takes, 1 where their shapes differ. A ``grid`` that tells of a picture's shape is kept.
    """

    def __init__(
        self,
        processor: Any,
        cache: FeatureCache,
        key: Callable[..., str],
        encode: Callable[[Tree], Tree] | None,
        part: str = "vision",
        join: Callable[[Sequence[Tree]], Tree] = stacked,
        together: int = _TOGETHER,
    ) -> None:
        self._processor, self._cache, self._key, self.encode = processor, cache, key, encode
        self._part, self._join, self._together = part, join, together
        self._digests = Digests()
        self._grids: dict[str, tuple[int, ...]] = {}

    def digest(self, picture: Picture) -> str:
        """The hash of a picture's content.

        Raises:
            FedloomError: the file cannot be read.
        """
        return self._digests.of(picture)

    def batch(self, pictures: Sequence[Picture]) -> Tree:
        """The pictures' features, or pixels, as one batch on the device.

        Raises:
            FedloomError: a picture cannot be opened.
        """
        return self.joined(self.each(pictures))

    def joined(self, trees: Sequence[Tree]) -> Tree:
        """The trees of several pictures as one batch on the device."""
        return {name: value.to(device()) for name, value in self._join(trees).items()}

    def each(self, pictures: Sequence[Picture]) -> list[Tree]:
        """The features, or pixels, of each picture, as the cache keeps them.

        Raises:
            FedloomError: a picture cannot be opened.
        """
        digests = [self._digests.of(picture) for picture in pictures]
        if self.encode is None:
            trees = [self._pixels(picture, digest) for picture, digest in zip(pictures, digests, strict=True)]
        else:
            known = self._features(dict(zip(digests, pictures, strict=True)))
            trees = [known[digest] for digest in digests]
        for digest, tree in zip(digests, trees, strict=True):
            if "grid" in tree and digest not in self._grids:
                self._grids[digest] = tuple(tree["grid"].tolist())
        return trees

    def grid(self, picture: Picture) -> tuple[int, ...]:
        """The numbers that tell of a picture's shape, in a family whose pictures differ in it.

        Raises:
            FedloomError: the picture cannot be opened.
        """
        digest = self._digests.of(picture)
        if digest not in self._grids:
            self.each([picture])
        return self._grids[digest]

    def _pixels(self, picture: Picture, digest: str) -> Tree:
        return self._cache.get(self._key("pixels", digest), lambda: self.preprocess(picture), keep_on_disk=False)

    def _features(self, pictures: Mapping[str, Picture]) -> dict[str, Tree]:
        """What the frozen part makes of pictures, by digest: found, or made in batches of one size."""
        known: dict[str, Tree] = {}
        unknown: list[str] = []
        for digest in pictures:
            tree = self._cache.find(self._key(self._part, digest))
            if tree is None:
                unknown.append(digest)
            else:
                known[digest] = tree
        for start in range(0, len(unknown), self._together):
            part = unknown[start : start + self._together]
            for digest, tree in zip(part, self._encode([pictures[digest] for digest in part]), strict=True):
                self._cache.put(self._key(self._part, digest), tree)
                known[digest] = tree
        return known

    def preprocess(self, picture: Picture) -> Tree:
        """What the checkpoint's image processor makes of one picture, without the batch dimension."""
        made = self._processor(open_picture(picture), return_tensors="pt")
        return {name: value[0] for name, value in made.items() if isinstance(value, torch.Tensor)}

    @torch.no_grad()
    def _encode(self, pictures: Sequence[Picture]) -> list[Tree]:
        """Features of up to ``together`` pictures, the batch filled up with its last."""
        assert self.encode is not None
        pixels = [self.preprocess(picture) for picture in pictures]
        filled = [*pixels, *[pixels[-1]] * (self._together - len(pixels))]
        made = {name: value.detach().cpu() for name, value in self.encode(self.joined(filled)).items()}
        if self._together == 1:
            return [{**{name: value.clone() for name, value in made.items()}, **_grid(pixels[0])}]
        return [{name: value[row].clone() for name, value in made.items()} for row in range(len(pictures))]


def _grid(pixels: Tree) -> Tree:
    return {"grid": pixels["grid"]} if "grid" in pixels else {}
