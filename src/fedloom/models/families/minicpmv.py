"""MiniCPM-V 4.6: a picture is seen whole and, where it is large, in slices; its pictures are numbered in the prompt."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fedloom.core.contracts import Tree
from fedloom.core.errors import FedloomError
from fedloom.models.families.family import Ragged, intercepted

_MARKS = ("image_start", "image_end", "slice_start", "slice_end", "image_id_start", "image_id_end")
"""What stands around a picture, a slice and a picture's number, as the tokenizer calls its tokens."""


class MiniCPMV(Ragged):
    """``grid``: rows and columns of slices (0 and 0: none), then height and width in patches of the whole picture and
    of each slice. The merger makes a row of a square of patches."""

    def __init__(self, model: Any, processor: Any) -> None:
        super().__init__(model, processor)
        if processor is not None:  # a plan has none
            self._marks = {mark: str(getattr(processor.tokenizer, f"{mark}_token")) for mark in _MARKS}

    @property
    def _merger(self) -> Any:
        return self.model.model.merger

    @property
    def image_token(self) -> str:
        """The token whose places the rows take."""
        number = self.model.config.image_token_id
        return "" if number is None else str(self.processor.tokenizer.convert_ids_to_tokens(number) or "")

    def pixels(self, image: Any, return_tensors: str = "pt") -> Tree:
        """Patches of the whole picture and of its slices, one behind the other, ``[1, C, P, P n]``.

        Raises:
            FedloomError: its slices differ in size.
        """
        made = self.processor.image_processor(image, return_tensors=return_tensors)
        rows, columns = made["grids"][0]
        whole, *slices = made["target_sizes"].tolist()
        if any(one != slices[0] for one in slices) or len(slices) != rows * columns:
            raise FedloomError(
                f"its image processor cuts a picture into {rows} x {columns} slices of {slices} patches; expected as "
                "many, all of one size."
            )
        grid = [rows, columns, *whole, *(slices or [(0, 0)])[0]]
        return {"pixel_values": made["pixel_values"], "grid": torch.tensor([grid])}

    def beside(self, trees: Sequence[Tree]) -> Tree:
        """Patches of all pictures, one behind the other, ``[1, C, P, P n]``."""
        return {"pixel_values": torch.cat([tree["pixel_values"] for tree in trees], dim=-1)[None]}

    def shown(self, grid: Sequence[int]) -> str:
        """Its image tokens between the marks of a picture, then each slice's between those of a slice, row by row."""
        marks = self._marks
        rows, columns, *sizes = grid
        whole, one = (self.image_token * (height * width // self._square()) for height, width in (sizes[:2], sizes[2:]))
        row = f"{marks['slice_start']}{one}{marks['slice_end']}" * columns
        return f"{marks['image_start']}{whole}{marks['image_end']}" + "\n".join([row] * rows)

    def all_shown(self, grids: Sequence[Sequence[int]]) -> list[str]:
        """What stands in a prompt for each of its pictures: its number first, where the image processor says so."""
        shown = super().all_shown(grids)
        if not self.processor.image_processor.use_image_id:
            return shown
        start, end = self._marks["image_id_start"], self._marks["image_id_end"]
        return [f"{start}{number}{end}{one}" for number, one in enumerate(shown)]

    def see(self, pixels: Tree) -> Tree:
        """What the vision tower hands to the merger, ``[p, k]``, and the grids by which that goes on."""
        with intercepted(self._merger, lambda states: [states[0]]) as caught:
            self.model.get_image_features(
                pixel_values=pixels["pixel_values"], target_sizes=_sizes(pixels["grid"]).to(pixels["grid"].device)
            )
        return {"states": caught[0][0], "grid": pixels["grid"]}

    def connect(self, states: Tree) -> Tree:
        """Rows ``[n, d]``."""
        sizes = _sizes(states["grid"])
        if self.model.config.downsample_mode != "4x":  # the vision tower has merged squares of patches once
            sizes = sizes // 2
        return {"seen": torch.cat(self._merger(states["states"][None], sizes.to(states["states"].device)))}

    def _square(self) -> int:
        """Patches that become a row, as the image processor counts them."""
        return 4 if self.processor.image_processor.downsample_mode == "4x" else 16


def _sizes(grids: Tensor) -> Tensor:
    """Height and width in patches of all that is seen of pictures, the whole of each before its slices: ``[s, 2]``."""
    each = [
        [whole, *[one] * (rows * columns)]
        for rows, columns, whole, one in ((g[0], g[1], g[2:4], g[4:]) for g in grids.tolist())
    ]
    return torch.tensor([size for sizes in each for size in sizes], dtype=torch.int32)
