"""The layer of kind ``lora-sb``: x -> R (A x) in the place of A, so that PEFT's own layer computes B R A x."""

from torch import Tensor, nn
from torch.nn import functional as F


class Squared(nn.Linear):
    """A ``[r, k]``, its ``weight``, and R ``[r, r]``, that of ``square``, applied one after the other."""

    def __init__(self, a: nn.Linear) -> None:
        rank, features = a.weight.shape
        super().__init__(features, rank, bias=False, device="meta")  # nothing is drawn or kept of it
        self.weight = a.weight
        square = nn.Linear(rank, rank, bias=False, device="meta", dtype=a.weight.dtype)
        self.square = square.to_empty(device=a.weight.device)

    def forward(self, x: Tensor) -> Tensor:
        """``[..., k]`` to ``[..., r]``."""
        made: Tensor = self.square(F.linear(x, self.weight))
        return made
