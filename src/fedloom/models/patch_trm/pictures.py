"""A picture as Patch-TRM sees it: cut into patches of several sizes, each made as large as the residual network wants.

As in the authors' tools: a diagram is cut at its black margins (which few have), padded with white to a square, 3
pixels at the left and the top, and cut into n x n patches for each n, without the rest of a division. A choice's
picture is cut at its white margins, padded to a square in whose middle it stands, and is one patch. A square's side is
that of the longer side of what is left and 6 pixels more, of a choice 4.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageOps
from torch import Tensor

WHITE = (255, 255, 255)
FILE = "preprocessor_config.json"
DIAGRAM, CHOICE = 3, 2
"""Pixels of white around a diagram and around a choice's picture."""


@dataclass(frozen=True)
class Patches:
    """Makes patches of a picture: ``pixel_values`` ``[1, P, 3, S, S]``.

    ``grids``: patches a side, of each size. ``size``: S. ``mean``, ``deviation``: of each channel, from 0 to 1.
    ``choice``: pictures are choices.
    """

    grids: tuple[int, ...] = (1, 2, 3, 4, 7)
    size: int = 224
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    deviation: tuple[float, ...] = (0.229, 0.224, 0.225)
    choice: bool = False

    def __call__(self, picture: Image.Image, return_tensors: str = "pt") -> dict[str, Tensor]:
        """The patches of a picture, in the order of the grids and, within one, in reading order.

        Raises:
            ValueError: it is too small to be cut.
        """
        square = _choice(picture) if self.choice else _diagram(picture)
        parts = [self.pixels(patch) for patch in cut(square, (1,) if self.choice else self.grids)]
        return {"pixel_values": torch.stack(parts)[None]}

    def pixels(self, patch: Image.Image) -> Tensor:
        """``[3, S, S]``: one patch as the residual network reads it."""
        made = patch.resize((self.size, self.size), Image.Resampling.BILINEAR)
        values = torch.frombuffer(bytearray(made.tobytes()), dtype=torch.uint8)
        scaled = values.reshape(self.size, self.size, 3).permute(2, 0, 1).float() / 255
        return (scaled - torch.tensor(self.mean)[:, None, None]) / torch.tensor(self.deviation)[:, None, None]

    def to_json_string(self) -> str:
        """All that decides a patch."""
        return json.dumps(asdict(self), sort_keys=True)

    def save_pretrained(self, folder: Path) -> None:
        """Write it into a folder."""
        (folder / FILE).write_text(self.to_json_string() + "\n", encoding="utf-8")


def read(said: Any) -> Patches:
    """What a folder's file says.

    Raises:
        ValueError: unknown keys, or values that are none.
    """
    known = asdict(Patches())
    if not isinstance(said, dict) or set(said) - set(known):
        raise ValueError(f"expected an object of {', '.join(known)}")
    given: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in said.items()}
    made = Patches(**given)
    if (
        not made.grids
        or any(not isinstance(n, int) or not 1 <= n <= 64 for n in made.grids)
        or not 1 <= made.size <= 1024
    ):
        raise ValueError(
            f"grids = {made.grids} and size = {made.size}: expected 1 to 64 patches a side, of 1 to 1024 pixels"
        )
    return made


def cut(square: Image.Image, grids: Sequence[int]) -> list[Image.Image]:
    """The patches of a picture for each grid, all of one grid of one size: ``width // n`` by ``height // n``.

    Raises:
        ValueError: a patch would have no pixel.
    """
    found = []
    for side in grids:
        width, height = square.width // side, square.height // side
        if not width or not height:
            raise ValueError(f"{square.width} x {square.height} pixels cannot be cut into {side} x {side} patches")
        for row in range(side):
            found += [
                square.crop((width * column, height * row, width * (column + 1), height * (row + 1)))
                for column in range(side)
            ]
    return found


def _diagram(picture: Image.Image) -> Image.Image:
    inner = picture.crop(picture.getbbox() or (0, 0, *picture.size))
    side = max(inner.size) + 2 * DIAGRAM
    right, below = side - inner.width - DIAGRAM, side - inner.height - DIAGRAM
    return ImageOps.expand(inner, (DIAGRAM, DIAGRAM, right, below), WHITE)


def _choice(picture: Image.Image) -> Image.Image:
    inner = picture.crop(ImageOps.invert(picture).getbbox() or (0, 0, *picture.size))
    side = max(inner.size) + 2 * CHOICE
    across, down = side - inner.width, side - inner.height
    return ImageOps.expand(inner, (across // 2, down // 2, across - across // 2, down - down // 2), WHITE)
