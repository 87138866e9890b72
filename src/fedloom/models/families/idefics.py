"""Idefics3 and SmolVLM: a large picture is cut into tiles, each named by row and column, and shown whole after them."""

from collections.abc import Sequence
from typing import Any

import torch

from fedloom.core.contracts import Tree
from fedloom.models.families.family import Ragged, intercepted, padded


class Idefics(Ragged):
    """``grid``: rows and columns of tiles; 0 and 0 for a picture that is not cut."""

    @property
    def _connector(self) -> Any:
        return self.model.model.connector

    @property
    def image_token(self) -> str:
        """The token whose places the rows take."""
        return self._named("image_token", "<image>")

    def _named(self, name: str, usual: str) -> str:
        return str(getattr(self.processor.tokenizer, name, None) or usual)

    def pixels(self, image: Any, return_tensors: str = "pt") -> Tree:
        """Tiles ``[1, t, 3, H, W]``, and a mask of what is no padding, ``[1, t, H, W]``."""
        made = self.processor.image_processor(image, return_tensors=return_tensors, return_row_col_info=True)
        tree = {name: made[name] for name in ("pixel_values", "pixel_attention_mask") if name in made}
        return {**tree, "grid": torch.tensor([[made["rows"][0][0], made["cols"][0][0]]])}

    def beside(self, trees: Sequence[Tree]) -> Tree:
        """Tiles and masks, filled up to the largest number; the model leaves out what is empty."""
        names = ("pixel_values", "pixel_attention_mask")
        return {name: padded([tree[name] for tree in trees]) for name in names if name in trees[0]}

    def shown(self, grid: Sequence[int]) -> str:
        """Its image tokens, tile by tile, then the whole picture's, with the marks that were there when it learned."""
        around, name = self._named("fake_image_token", "<fake_token_around_image>"), "global_image_token"
        tokens = self.image_token * int(self.model.model.image_seq_len)
        rows, columns = grid
        tiles = "".join(
            "".join(f"{around}<row_{row + 1}_col_{column + 1}>{tokens}" for column in range(columns)) + "\n"
            for row in range(rows)
        )
        return f"{tiles}{chr(10) if tiles else ''}{around}{self._named(name, '<global-img>')}{tokens}{around}"

    def see(self, pixels: Tree) -> Tree:
        """What the vision tower hands to the connector, ``[tiles, T, k]``."""
        given = {name: value for name, value in pixels.items() if name != "grid"}
        with intercepted(self._connector, lambda states: states) as caught:
            self.model.get_image_features(**given)
        return {"states": caught[0]}

    def connect(self, states: Tree) -> Tree:
        """Rows ``[n, d]``."""
        return {"seen": self._connector(states["states"]).flatten(0, 1)}
