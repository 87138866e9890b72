"""A frozen teacher's predictions."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from fedloom.core.contracts import Objective, Outputs, Predictions
from fedloom.core.errors import FedloomError
from fedloom.core.table import Positive, Revision


def distil(
    teacher: str,
    temperature: Positive = 2.0,
    weight: Annotated[float, Field(ge=0, le=1)] = 0.5,
    revision: Revision = "",
) -> Objective:
    """Knowledge distillation: the teacher's distribution beside the right answer.

    Hinton et al. 2015 (arXiv 1503.02531), section 2: ``(1 - weight) L_answer + weight T^2 KL(p_teacher || p_student)``
    with both softmaxes at ``temperature`` T; T^2 keeps the two parts' gradients alike as T changes. p is over an
    example's choices, or, of a model that answers in text, over the next token, the mean over the places of the answer.

    Args:
        teacher: a frozen model by its shipped name, Hugging Face id or folder; its predictions are computed once for
            each example. One that answers in text must have the same vocabulary.
        temperature: T.
        weight: the share of the teacher's part, 0 to 1.
        revision: of a Hugging Face id: the commit, tag or branch that is meant.

    Raises:
        FedloomError: no teacher.
    """
    if not teacher:
        raise FedloomError("objective.teacher is empty. Name a model: 'nano-vlm', a Hugging Face id or a folder.")

    def loss(outputs: Outputs) -> Tensor:
        student, taught = outputs.predictions(), outputs.taught()
        soft = temperature**2 * divergence(taught, student, temperature)
        return (1 - weight) * outputs.answers() + weight * soft

    return Objective(loss, ("answers", "predictions"), teacher=teacher, revision=revision)


def divergence(taught: Predictions, student: Predictions, temperature: float) -> Tensor:
    """``KL(p_taught || p_student)`` of each example, ``[B]``, both at ``temperature``: the mean over its places."""
    target = F.log_softmax(taught.logits / temperature, dim=-1)
    found = F.log_softmax(student.logits / temperature, dim=-1)
    possible = target.isfinite()
    gap = torch.where(possible, target - found.masked_fill(~possible, 0.0), 0.0)
    places = (target.exp() * gap).sum(dim=-1)
    return places.masked_fill(~student.there, 0.0).sum(dim=-1) / student.there.sum(dim=-1)
