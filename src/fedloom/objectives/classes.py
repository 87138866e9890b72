"""The right one among the choices."""

from torch import Tensor
from torch.nn import functional as F

from fedloom.core.contracts import Objective, Outputs
from fedloom.objectives._checks import with_choices


def classes() -> Objective:
    """Cross-entropy of the right choice among an example's own: ``-log softmax(scores)[gold]``.

    A score is the logit of a caption, or the log-likelihood of the choice as an answer (its mean over tokens with
    ``model.normalise``, as when answers are ranked). Of a model that answers in text every choice is a row, so a step
    costs as many times more as there are choices.
    """

    def loss(outputs: Outputs) -> Tensor:
        found = outputs.choices()
        return F.cross_entropy(found.scores, found.gold, reduction="none")

    return Objective(loss, ("choices",), with_choices("classes"), texts=lambda e: e.choices)
