"""A backbone's way from pictures to tensors: preprocessed pixels and frozen features, each computed once."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from fedloom.core.contracts import Picture, Tree, device
from fedloom.models.features import FeatureCache
from fedloom.models.pictures import Digests, open_picture


class Images:
    """Pictures as the model takes them. ``encode`` maps the pixels of one picture to what the frozen part makes of it;
    ``None`` where that part learns: then pixels are what is kept, in memory alone.

    ``key(part, digest)`` names a cache entry.
    """

    def __init__(
        self, processor: Any, cache: FeatureCache, key: Callable[..., str], encode: Callable[[Tree], Tree] | None
    ) -> None:
        self._processor, self._cache, self._key, self.encode = processor, cache, key, encode
        self._digests = Digests()

    def batch(self, pictures: Sequence[Picture]) -> Tree:
        """The pictures' features, or pixels, stacked on the device: each tensor is ``[pictures, ...]``.

        Raises:
            FedloomError: a picture cannot be opened.
        """
        single = self._pixels if self.encode is None else self._features
        trees = [single(picture) for picture in pictures]
        return {name: torch.stack([tree[name] for tree in trees]).to(device()) for name in trees[0]}

    def _pixels(self, picture: Picture) -> Tree:
        key = self._key("pixels", self._digests.of(picture))
        return self._cache.get(key, lambda: self.preprocess(picture), keep_on_disk=False)

    def _features(self, picture: Picture) -> Tree:
        return self._cache.get(self._key("vision", self._digests.of(picture)), lambda: self._encode(picture))

    def preprocess(self, picture: Picture) -> Tree:
        """What the checkpoint's image processor makes of one picture, without the batch dimension."""
        made = self._processor(open_picture(picture), return_tensors="pt")
        return {name: value[0] for name, value in made.items() if isinstance(value, torch.Tensor)}

    @torch.no_grad()
    def _encode(self, picture: Picture) -> Tree:
        assert self.encode is not None
        pixels = {name: value[None].to(device()) for name, value in self.preprocess(picture).items()}
        return {name: value[0].detach().cpu() for name, value in self.encode(pixels).items()}
