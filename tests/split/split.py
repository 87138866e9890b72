"""A tiny LLaVA whole, and the same with its language model behind the boundary."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from fedloom.core.contracts import Tree
from fedloom.split.boundary import Boundary
from fedloom.split.desk import Desk
from tests.models.backbones import backbone, examples, shaken

NANO = {"kind": "nano", "rank": 3, "alpha": 6}
OUTSIDE = {"rank": 2, "modules": ("q", "v", "mlp"), "where": ("vision", "connector")}


def split(folder: Path, adapter: dict[str, Any] | None = None, **options: Any) -> tuple[Any, Boundary, Desk]:
    """A backbone whose language model is asked through bytes; its boundary and its host's desk. ``model``, ``desk``:
    options of these; all others are the boundary's."""
    made: list[Any] = []
    own, room = options.pop("model", {}), options.pop("desk", {})

    def route(language: Any) -> Boundary:
        desk = Desk(language, **room)
        boundary = Boundary(asked(desk), **options)
        made.extend((boundary, desk))
        return boundary

    model = backbone(folder, adapter=adapter or NANO, route=route, **own)
    return model, made[0], made[1]


def asked(desk: Desk, site: str = "a") -> Callable[[bytes], bytes]:
    """A transport that is no network at all."""
    return lambda blob: desk.ask(site, blob)


def gradients(model: Any, weights: torch.Tensor | None = None, count: int = 4) -> tuple[torch.Tensor, Tree]:
    """Losses of a batch, and the gradients of their mean, or of their sum with weights."""
    for leaf in model.leaves().values():
        leaf.grad = None
    losses = model.loss(model.collate(examples(count)))
    aim = losses.mean() if weights is None else (losses * weights).sum()
    aim.backward()
    return losses.detach(), {name: leaf.grad.clone() for name, leaf in model.leaves().items()}


def error(found: Tree, expected: Tree) -> float:
    """The largest relative error of a tensor, by its norm."""
    return max(float((found[n] - value).norm() / value.norm().clamp(min=1e-12)) for n, value in expected.items())


def moved(model: Any) -> Any:
    """The model with an adapter that does something."""
    model.write(shaken(model.read()))
    return model
