"""Each picture with its caption among those of the batch."""

from torch import Tensor

from fedloom.core.contracts import Objective, Outputs
from fedloom.objectives._checks import with_choices
from fedloom.objectives._pairs import within_batch


def in_batch() -> Objective:
    """The model's own contrastive loss: each picture with the caption of its answer among those of the batch.

    Softmax in both directions with targets 0 to B - 1 (CLIP: Radford et al. 2021, figure 3), or a sigmoid a pair
    (SigLIP: Zhai et al. 2023, equation 1). Two examples of one class in a batch are each other's false negatives; see
    ``class-aware``. FLoRA's loss (arXiv 2404.15182, code).
    """

    def loss(outputs: Outputs) -> Tensor:
        return within_batch(outputs.pairs())

    return Objective(loss, ("pairs",), with_choices("in-batch"))
