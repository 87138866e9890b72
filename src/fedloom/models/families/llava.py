"""LLaVA and its kin: every picture takes the same number of tokens."""

from collections.abc import Sequence
from typing import Any

from PIL import Image

from fedloom.core.contracts import Tree
from fedloom.core.errors import FedloomError
from fedloom.models.families.family import Family, intercepted


class Llava(Family):
    """A ``multi_modal_projector`` between vision tower and language model; ``tokens`` a picture."""

    def __init__(self, model: Any, processor: Any, tokens: int) -> None:
        super().__init__(model, processor)
        self._tokens = tokens

    @property
    def _connector(self) -> Any:
        return self.model.model.multi_modal_projector

    def shown(self, grid: Sequence[int]) -> str:
        """Its image tokens."""
        return self.image_token * self._tokens

    def see(self, pixels: Tree) -> Tree:
        """What the vision tower hands to the connector, ``[N, T, k]``."""
        with intercepted(self._connector, lambda states: states) as caught:
            self.model.get_image_features(**pixels)
        return {"states": caught[0]}

    def connect(self, states: Tree) -> Tree:
        """Rows ``[N, n, d]``."""
        return {"seen": self._connector(states["states"])}


def image_tokens(processor: Any) -> int | None:
    """Tokens that every picture takes, from a square and a wide blank; ``None`` where pictures differ, are cut into
    tiles, or come with more than their pixels (sizes, masks).

    Raises:
        FedloomError: the processor lacks what it counts by.
    """
    if getattr(processor, "patch_size", 0) is None:
        raise FedloomError(
            "its processor has no patch_size, by which the tokens of a picture are counted. Set it in "
            "processor_config.json to that of vision_config in config.json."
        )
    counts = set()
    for size in ((64, 64), (128, 64)):
        made = processor.image_processor(Image.new("RGB", size), return_tensors="pt")
        if set(made) != {"pixel_values"} or made["pixel_values"].shape[:-2] != (1, 3):
            return None
        try:
            counts.add(int(processor.replace_image_token(made, 0).count(processor.image_token)))
        except (AttributeError, NotImplementedError):  # a processor that places no pictures by itself
            return None
    return counts.pop() if len(counts) == 1 else None
