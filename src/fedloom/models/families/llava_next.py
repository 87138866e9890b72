"""LLaVA-NeXT: a picture is seen whole and in tiles, whose rows are laid out as the picture is, a newline after each."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fedloom.core.contracts import Tree
from fedloom.models.families.family import Ragged, intercepted, padded


class LlavaNext(Ragged):
    """``grid``: height and width of the picture, and how many tiles it became. The newline is an embedding of its own,
    which no connector makes."""

    @property
    def _connector(self) -> Any:
        return self.model.model.multi_modal_projector

    def pixels(self, image: Any, return_tensors: str = "pt") -> Tree:
        """Tiles ``[1, t, 3, H, W]``."""
        made = super().pixels(image, return_tensors)
        tiles = torch.tensor([[made["pixel_values"].shape[1]]])
        return {"pixel_values": made["pixel_values"], "grid": torch.cat([made["image_sizes"], tiles], dim=1)}

    def beside(self, trees: Sequence[Tree]) -> Tree:
        """Tiles, filled up to the largest number: ``[N, t, 3, H, W]``."""
        return {"pixel_values": padded([tree["pixel_values"] for tree in trees])}

    def shown(self, grid: Sequence[int]) -> str:
        """Its image tokens."""
        return self.image_token * len(self._places(grid))

    def see(self, pixels: Tree) -> Tree:
        """What the vision tower hands to the connector, ``[tiles, T, k]``, and where its rows stand."""
        grids = pixels["grid"]
        width = self.model.model.image_newline.shape[0]
        # The model lays rows of the language model's width: these stand for them.
        with intercepted(self._connector, lambda states: states.new_zeros(*states.shape[:2], width)) as caught:
            self.model.get_image_features(pixel_values=pixels["pixel_values"], image_sizes=grids[:, :2])
        each = [self._places(grid) for grid in grids.tolist()]
        one = self._tile_rows()
        first = [one * int(grids[:number, 2].sum()) for number in range(len(grids))]
        places = torch.cat([torch.where(own < 0, own, own + f) for own, f in zip(each, first, strict=True)])
        return {"states": caught[0], "places": places.to(caught[0].device)}

    def connect(self, states: Tree) -> Tree:
        """Rows ``[n, d]``; ``real``: those that are no newline."""
        rows, places = self._connector(states["states"]).flatten(0, 1), states["places"]
        newline = self.model.model.image_newline.to(rows.dtype)
        real = places >= 0
        return {"seen": torch.where(real[:, None], rows[places.clamp(min=0)], newline), "real": real}

    def rows(self, states: Tensor) -> int:
        """One of each patch of each tile."""
        return states.shape[0] * states.shape[1]

    def _tile_rows(self) -> int:
        config = self.model.config
        side: int = config.vision_config.image_size // config.vision_config.patch_size
        dropped = int(config.vision_feature_select_strategy == "default")
        return side * side + int(self.processor.num_additional_image_tokens) - dropped

    def _places(self, grid: Sequence[int]) -> Tensor:
        """For each of a picture's rows, which of the connector's it is; -1 for a newline. The model says it itself."""
        height, width, tiles = grid
        one = self._tile_rows()
        numbers = torch.arange(tiles * one, dtype=torch.float64).reshape(tiles, one, 1)
        laid, _ = self.model.model.pack_image_features(
            [numbers],
            torch.tensor([[height, width]]),
            vision_feature_select_strategy=self.model.config.vision_feature_select_strategy,
            image_newline=torch.tensor([-1.0], dtype=torch.float64),
        )
        return laid[0][:, 0].long()  # type: ignore[no-any-return]
