"""A backbone's way from pictures to tensors: preprocessed pixels and frozen features, each computed once."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from fedloom.core import limits
from fedloom.core.contracts import Picture, Tree
from fedloom.core.device import device
from fedloom.core.errors import FedloomError
from fedloom.core.pictures import open_picture
from fedloom.core.tree import nbytes
from fedloom.models.checkpoints.checks import reason
from fedloom.models.families.family import stacked
from fedloom.models.vision.features import FeatureCache
from fedloom.models.vision.pictures import Digests

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

    def unkept(self, pictures: Sequence[Picture]) -> Tree:
        """The features, or pixels, of pictures that will not come again, as one batch on the device.

        Raises:
            FedloomError: a picture cannot be prepared.
        """
        if self.encode is None:
            return self.joined([self.preprocess(picture) for picture in pictures])
        parts = [pictures[start : start + self._together] for start in range(0, len(pictures), self._together)]
        return self.joined([tree for part in parts for tree in self._encode(part)])

    def prepare(self, pictures: Sequence[Picture]) -> bool:
        """Encode pictures that will be asked for, so that nothing else need be in memory meanwhile. Whether all of them
        are kept now; where they cannot be, none is encoded but the first.

        Raises:
            FedloomError: a picture cannot be opened.
        """
        distinct = list({self._digests.of(picture): picture for picture in pictures}.values())
        if self.encode is None or not distinct or not self._cache.holds(1):
            return False
        (first,) = self.each(distinct[:1])
        if not self._cache.holds(len(distinct) * nbytes(first)):
            return False
        for start in range(0, len(distinct), self._together):
            limits.tick()
            self.each(distinct[start : start + self._together])
        return True

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

    def check(self, named: Iterable[tuple[str, Picture]]) -> None:
        """Refuse pictures that cannot be prepared, each ``named`` by its example. Sizes are read from all files; what
        is largest, smallest, widest and tallest among them goes through the processor, and so does what is not plainly
        of 8 bits.

        Raises:
            FedloomError: one cannot, with its example's name.
        """
        for name, picture in _extremes(named):
            try:
                self.preprocess(picture)
            except FedloomError as error:
                raise FedloomError(f"example {name!r}: {error}") from error

    def _pixels(self, picture: Picture, digest: str) -> Tree:
        key = self._key(f"{self._part} pixels", digest)  # another part may look at the picture in another way
        return self._cache.get(key, lambda: self.preprocess(picture), keep_on_disk=False)

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
        """What the checkpoint's image processor makes of one picture, without the batch dimension.

        Raises:
            FedloomError: the picture cannot be opened, or the processor cannot take one of its shape.
        """
        opened = open_picture(picture)
        try:
            made = self._processor(opened, return_tensors="pt")
        except Exception as error:  # whatever a processor raises for a shape that it was not made for
            where = str(picture) if isinstance(picture, Path) else repr(picture)
            raise FedloomError(
                f"picture {where}, {opened.width} x {opened.height}: the model's image processor cannot take it "
                f"({reason(error)}). Resize, cut or remove it."
            ) from error
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


def _extremes(named: Iterable[tuple[str, Picture]]) -> list[tuple[str, Picture]]:
    """Of many pictures those that a processor is likeliest to stumble over."""
    found: dict[tuple[object, ...], tuple[str, Picture]] = {}
    best: dict[str, tuple[float, tuple[str, Picture]]] = {}
    for name, picture in named:
        seen = _seen_at(picture)
        if seen is None or seen[0] in ("I", "F"):
            found[name, id(picture)] = name, picture
            continue
        _, width, height = seen
        measures = {"wide": width / height, "tall": height / width, "large": width * height}
        measures |= {"small": -width * height, "narrow": -width, "low": -height}
        for measure, value in measures.items():
            if measure not in best or value > best[measure][0]:
                best[measure] = value, (name, picture)
    return [*found.values(), *{id(picture): (name, picture) for _, (name, picture) in best.values()}.values()]


def _seen_at(picture: Picture) -> tuple[str, int, int] | None:
    """A picture's mode, width and height, without its pixels; ``None``: they cannot be told."""
    if not isinstance(picture, Path):
        return (picture.mode, *picture.size)
    try:
        with Image.open(picture) as image:
            return (image.mode, *image.size)
    except Exception:  # whoever opens it will say so
        return None


def _grid(pixels: Tree) -> Tree:
    return {"grid": pixels["grid"]} if "grid" in pixels else {}
