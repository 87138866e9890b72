"""Qwen2-VL and Qwen2.5-VL: pictures keep their shape, and positions count time, height and width."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fedloom.core.contracts import Tree
from fedloom.models.families.family import Ragged, intercepted


class QwenVL(Ragged):
    """``grid``: how many patches a picture has in time, height and width. The merger makes a row of a square of them;
    Qwen2.5-VL hands them to it window by window, and sorts its rows afterwards."""

    @property
    def _merger(self) -> Any:
        return self.model.model.visual.merger

    @property
    def image_token(self) -> str:
        """The token whose places the rows take."""
        return self._token(self.model.config.image_token_id)

    def _token(self, number: int | None) -> str:
        return "" if number is None else str(self.processor.tokenizer.convert_ids_to_tokens(number) or "")

    def pixels(self, image: Any, return_tensors: str = "pt") -> Tree:
        """Patches ``[1, p, k]``."""
        made = super().pixels(image, return_tensors)
        return {"pixel_values": made["pixel_values"][None], "grid": made["image_grid_thw"]}

    def beside(self, trees: Sequence[Tree]) -> Tree:
        """Patches of all pictures, ``[p, k]``."""
        return {"pixel_values": torch.cat([tree["pixel_values"] for tree in trees])}

    def shown(self, grid: Sequence[int]) -> str:
        """Its image tokens between the marks of a picture's start and end."""
        time, height, width = grid
        config = self.model.config
        start, end = (self._token(getattr(config, f"vision_{which}_token_id", None)) for which in ("start", "end"))
        return start + self.image_token * (time * height * width // self._square()) + end

    def see(self, pixels: Tree) -> Tree:
        """What the blocks hand to the merger, ``[p, k]``, and the order of its rows, which the model says itself."""

        def numbers(states: Tensor) -> Tensor:
            return torch.arange(self.rows(states), device=states.device)[:, None]

        with intercepted(self._merger, numbers) as caught:
            made = self.model.get_image_features(pixel_values=pixels["pixel_values"], image_grid_thw=pixels["grid"])
        return {"states": caught[0], "places": torch.cat(list(made.pooler_output))[:, 0]}

    def connect(self, states: Tree) -> Tree:
        """Rows ``[n, d]``."""
        return {"seen": self._merger(states["states"])[states["places"]]}

    def rows(self, states: Tensor) -> int:
        """One of each square of patches."""
        return states.shape[0] // self._square()

    def _square(self) -> int:
        return int(self.model.config.vision_config.spatial_merge_size) ** 2

    def positions(self, tokens: Tensor, mask: Tensor, grids: Tensor | None) -> Tensor | None:
        """Positions ``[3, B, T]``: equal for words, and those of a picture's rows after its height and width."""
        pictured = (tokens == self.model.config.image_token_id).int()
        found, _ = self.model.model.get_rope_index(
            input_ids=tokens, mm_token_type_ids=pictured, image_grid_thw=grids, attention_mask=mask.long()
        )
        return found  # type: ignore[no-any-return]
