"""What stands in a contrastive model in the place of a picture that an example does not have (``model.absent``).

refuse   nothing: such an example is refused
blank    a uniform picture, which goes the way of every other
learned  a vector ``[D]`` in the place of the picture's projected vector: one more leaf of the adapter, which begins as
         the blank picture's and is averaged as the others are
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image
from safetensors.torch import save
from torch import Tensor, nn

from fedloom.core.contracts import Tree
from fedloom.core.errors import FedloomError
from fedloom.core.files import write_atomic

How = Literal["refuse", "blank", "learned"]

NAME = "absent.image"
"""The leaf's name."""
FILE = "absent_image.safetensors"
"""Where an exported adapter has it, under the same name."""
GREY = (0.5, 0.5, 0.5)
"""The colour where a processor takes no mean away."""


def blank(processor: Any) -> Image.Image:
    """A square as large as the image processor's pictures, each pixel the processor's mean colour in 8 bits: after
    normalisation, zero to within half a level of 255."""
    size = {**dict(processor.size or {}), **dict(getattr(processor, "crop_size", None) or {})}
    side = int(size.get("height") or size.get("shortest_edge") or 224)
    mean = (processor.do_normalize and processor.image_mean) or GREY
    red, green, blue = (round(255 * float(channel)) for channel in mean)
    return Image.new("RGB", (side, side), (red, green, blue))


def width(model: Any) -> int:
    """Entries of a picture's projected vector."""
    projection = getattr(model, "visual_projection", None)
    return int(projection.out_features if projection else model.config.vision_config.hidden_size)


class Absent:
    """The place of pictures that are absent. ``picture``: the blank one. ``begin`` makes the learned vector."""

    def __init__(self, how: How, processor: Any) -> None:
        self.how, self.picture = how, blank(processor)
        self._vector: nn.Parameter | None = None

    def begin(self, vector: Tensor) -> None:
        """Have the learned vector begin as ``vector`` ``[D]``."""
        self._vector = nn.Parameter(vector.detach().float().clone())

    def leaves(self) -> Tree:
        """The learned vector under its name; empty where none is learned."""
        return {} if self._vector is None else {NAME: self._vector}

    def parted(self, adapter: Mapping[str, Tensor], name: str) -> tuple[Tree, Tree]:
        """An adapter of the model ``name`` without the learned vector, and that vector under its name.

        Raises:
            FedloomError: it is missing, or of another size.
        """
        if self._vector is None:
            return dict(adapter), {}
        rest = {key: value for key, value in adapter.items() if key != NAME}
        found = adapter.get(NAME)
        if found is None or found.shape != self._vector.shape:
            what = "is missing" if found is None else f"is {list(found.shape)}"
            expected = f"expected {list(self._vector.shape)} in the place of an absent picture"
            raise FedloomError(
                f"adapter: does not fit {name!r}: {NAME!r} {what}; {expected} (model.absent = 'learned')."
            )
        return rest, {NAME: found}

    @torch.no_grad()
    def write(self, own: Mapping[str, Tensor]) -> None:
        """Set the learned vector to that of ``parted``."""
        if self._vector is not None:
            self._vector.copy_(own[NAME])

    def filled(self, vectors: Tensor, there: Tensor) -> Tensor:
        """Projected vectors ``[B, D]`` with the learned one where ``there`` ``[B]`` is false."""
        if self._vector is None or bool(there.all()):
            return vectors
        return torch.where(there[:, None], vectors, self._vector.to(vectors))

    def save(self, folder: Path, own: Tree) -> None:
        """Write the learned vector beside an exported adapter, where there is one."""
        if own:
            made = {NAME: own[NAME].detach().cpu().contiguous()}
            write_atomic(folder / FILE, save(made, metadata={"format": "pt"}))

    def told(self) -> str:
        """The part of a card about the learned vector."""
        if self._vector is None:
            return ""
        return f"""
`{FILE}` holds the vector, `{NAME}` {list(self._vector.shape)}, that stands in the place of a picture's projected vector
where an example has no picture. PEFT does not read it.
"""
