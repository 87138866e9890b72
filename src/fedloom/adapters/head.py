"""A linear classifier on pictures' features."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedloom.adapters._fully import in_single
from fedloom.adapters._placed import Placed, matching, no_pairs, parameters, vector_width
from fedloom.core.contracts import Adapter, Base
from fedloom.core.device import device
from fedloom.core.errors import FedloomError
from fedloom.core.spec import AdapterSpec

PICTURES = {"vision_model", "visual_projection"}
"""What a model's vision tower and its projection are called."""


def head(spec: AdapterSpec, tower: bool = False) -> Adapter:
    """A linear classifier on pictures' features; no caption is read.

    ``logits[b, c] = t (W_c . I_b / ||I_b||) + b_c`` with t the model's own temperature: with W the captions' vectors it
    would be the zero-shot classifier, and rates that suit the model suit it. W ``[classes, D]`` and b ``[classes]``
    start at zero, so that before round 1 it knows nothing (its first class). Linear probing as in Radford et al. 2021
    (arXiv 2103.00020), section 3.2, on the vector after the projection; averaged over clients it is FLoRA's FedLC
    (arXiv 2404.15182, code). ``tower``: the vision tower and its projection learn too, in float32, and pictures'
    features are not frozen: FedVM-LC. The classes are all choices of the task's examples, or those that the task names.

    Raises:
        FedloomError: no classes are known, a model that answers in text, or a start of pairs.
    """
    no_pairs(spec)

    def touches(base: Base) -> frozenset[str]:
        matching(base, spec)
        return frozenset({"vision"} if tower else ())

    def place(base: Base) -> Classifier:
        return Classifier(base, spec, tower)

    return Adapter(touches, place, classes=True)


class Classifier(Placed):
    """W and b on vectors ``[B, D]`` of pictures.

    Raises:
        FedloomError: no classes are known, or the model answers in text.
    """

    def __init__(self, base: Base, spec: AdapterSpec, tower: bool) -> None:
        matching(base, spec)
        if not base.classes:
            raise FedloomError(
                "adapter.kind = 'head' needs the classes of the task: all examples' choices, or those that the task "
                "names (Task.classes). There are none."
            )
        self._linear = nn.Linear(vector_width(base), len(base.classes), device=device())
        nn.init.zeros_(self._linear.weight)
        nn.init.zeros_(self._linear.bias)
        self._row = {name: row for row, name in enumerate(base.classes)}
        self.modules = (self._linear,)
        names = (name for name, _ in base.model.named_parameters() if tower and PICTURES & set(name.split(".")))
        parts = parameters(self._linear, "head") | in_single(base, list(names))
        super().__init__(base, spec, frozenset({"vision"} if tower else ()), parts)

    def scores(self, images: Tensor, names: Sequence[str]) -> Tensor | None:
        """Logits ``[B, K]`` of vectors ``[B, D]`` for the classes ``names``, in float32; none where it is left out."""
        if self.left_out:
            return None
        rows = torch.tensor([self._row[name] for name in names], device=images.device)
        with torch.autocast(images.device.type, enabled=False):
            weight, bias = self._linear.weight[rows], self._linear.bias[rows]
            scale: Tensor = self.base.model.logit_scale.float().exp()
            return scale * (F.normalize(images.float(), dim=-1) @ weight.T) + bias

    @property
    def classifies(self) -> bool:
        """Always, but where it is left out."""
        return not self.left_out

    def wording(self, choices: tuple[str, ...]) -> tuple[str, ...]:
        """The choices as they are: names of classes.

        Raises:
            FedloomError: one of them is no class.
        """
        if unknown := [] if self.left_out else [name for name in choices if name not in self._row]:
            raise FedloomError(
                f"adapter.kind = 'head': the choice {unknown[0]!r} is none of its {len(self._row)} classes "
                f"({', '.join(map(repr, list(self._row)[:3]))} ...), which are those of the task. Have the task name "
                "all of them (Task.classes), or use kind 'lora'."
            )
        return () if self.left_out else choices
