"""nano-resnet: a small residual network that knows icons, for Patch-TRM to see patches with.

It learns from patches of drawn scenes what covers the patch (which thing, which colour, how large; a clock's hour, a
pie's parts) and how many things stand in it. Half of the patches are cut as Patch-TRM cuts, where most show a part of a
thing, or several; half are about a thing each, from which names are learnt.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset
from transformers import ResNetConfig, ResNetModel

from fedloom.core.seeds import Seeds
from fedloom.models.patch_trm.pictures import Patches
from fedloom.pretrain.pictures import HEADS, NOTHING, describe, random_scene, restyle
from fedloom.pretrain.tower import WEIGHTS, Plan, Tell, fit, half
from fedloom.tasks._icons.packs import PRIVATE, PUBLIC
from fedloom.tasks._icons.scene import CANVAS, Scene, draw

SIDE = 32
"""Pixels of a patch."""
GRIDS = (1, 2, 3, 4, 7)
EACH = 6
"""Patches of one drawn scene."""
MOST = 10
"""Values of the number of things in a patch."""
COVERED = 0.2
"""The least share of a patch that a thing covers which it is named by."""

Labelled = tuple[Tensor, dict[str, Tensor]]
Box = tuple[float, float, float, float]
"""Left, top, right and bottom of a part of a scene, in fractions of it."""


@dataclass(frozen=True)
class ResNetRecipe:
    """Sizes and schedule."""

    images: int = 400_000
    batch: int = 192
    lr: float = 3e-3
    embedding: int = 32
    widths: tuple[int, ...] = (48, 96, 160)
    depths: tuple[int, ...] = (1, 1, 2)


def resnet_config(recipe: ResNetRecipe) -> ResNetConfig:
    """The architecture: three stages of basic layers."""
    return ResNetConfig(
        embedding_size=recipe.embedding,
        hidden_sizes=list(recipe.widths),
        depths=list(recipe.depths),
        layer_type="basic",
    )


def patches() -> Patches:
    """How pictures are cut for it; white is 0."""
    return Patches(GRIDS, SIDE, mean=(1.0, 1.0, 1.0), deviation=(0.5, 0.5, 0.5))


def labels(scene: Scene, box: Box) -> dict[str, int]:
    """What is to be told of a part of a scene."""
    told = dict.fromkeys(HEADS, NOTHING) | {"thing": 0, "colour": 0, "count": 0}
    left, top, right, bottom = box
    best = COVERED * (right - left) * (bottom - top)
    for thing in describe(scene):
        across = min(right, thing.box[2]) - max(left, thing.box[0])
        down = min(bottom, thing.box[3]) - max(top, thing.box[1])
        middle = (thing.box[0] + thing.box[2]) / 2, (thing.box[1] + thing.box[3]) / 2
        told["count"] += left <= middle[0] < right and top <= middle[1] < bottom
        if across > 0 and down > 0 and across * down > best:
            best = across * down
            told |= {head: thing.labels.get(head, NOTHING) for head in HEADS if head not in ("x", "y")}
    return told | {"count": min(told["count"], MOST - 1)}


class Cut(IterableDataset[Labelled]):
    """An endless stream of batches: patches ``[B, 3, 32, 32]`` and labels ``[B]`` by head."""

    def __init__(self, seeds: Seeds, stream: str, packs: Sequence[str], size: int, augment: bool) -> None:
        self.seeds, self.stream, self.packs, self.size, self.augment = seeds, stream, tuple(packs), size, augment

    def __iter__(self) -> Iterator[Labelled]:
        rng, made = self.seeds.numpy(self.stream), patches()
        while True:
            shown: list[Tensor] = []
            told: list[dict[str, int]] = []
            while len(shown) < self.size:
                scene = random_scene(rng, self.packs)
                picture = draw(scene, warp=(lambda mask: restyle(mask, rng)) if self.augment else None)
                for turn in range(EACH):
                    box = _about(rng, scene) if turn % 2 else _cell(rng)
                    left, top, right, bottom = (round(edge * picture.width) for edge in box)
                    shown.append(made.pixels(picture.crop((left, top, right, bottom))))
                    told.append(labels(scene, box))
            keys = told[0]
            yield torch.stack(shown), {key: torch.tensor([each[key] for each in told]) for key in keys}


def _cell(rng: np.random.Generator) -> Box:
    """A patch of Patch-TRM's."""
    side = int(rng.choice(GRIDS, p=[0.25, 0.2, 0.2, 0.2, 0.15]))
    row, column = divmod(int(rng.integers(side * side)), side)
    step = (CANVAS // side) / CANVAS
    return column * step, row * step, (column + 1) * step, (row + 1) * step


def _about(rng: np.random.Generator, scene: Scene) -> Box:
    """A square about one of a scene's things, somewhat larger or smaller and not quite in its middle."""
    found = describe(scene)
    if not found:
        return 0.0, 0.0, 1.0, 1.0
    left, top, right, bottom = found[int(rng.integers(len(found)))].box
    side = max(right - left, bottom - top) * rng.uniform(0.85, 1.25)
    x, y = (left + right) / 2 + rng.uniform(-0.1, 0.1) * side, (top + bottom) / 2 + rng.uniform(-0.1, 0.1) * side
    x, y = min(max(x, side / 2), max(1 - side / 2, side / 2)), min(max(y, side / 2), max(1 - side / 2, side / 2))
    return x - side / 2, y - side / 2, x + side / 2, y + side / 2


def train_resnet(recipe: ResNetRecipe, seeds: Seeds, tell: Tell) -> tuple[ResNetModel, dict[str, float]]:
    """Train it on the public packs; it, and its scores on public and on private ones."""
    torch.manual_seed(seeds.number("resnet/init"))
    model = ResNetModel(resnet_config(recipe))
    sizes = {head: size for head, size in HEADS.items() if head not in ("x", "y")} | {"count": MOST}
    heads = nn.ModuleDict({head: nn.Linear(recipe.widths[-1], size) for head, size in sizes.items()})
    learn = [*model.parameters(), *heads.parameters()]
    stream = iter(
        DataLoader(Cut(seeds, "resnet/train", tuple(PUBLIC), recipe.batch, True), batch_size=None, num_workers=1)
    )
    weights: Mapping[str, float] = {**WEIGHTS, "count": 0.3}

    def loss() -> Tensor:
        shown, told = next(stream)
        with half():
            seen = model(pixel_values=shown).pooler_output.flatten(1)
        parts = [
            weights[head] * F.cross_entropy(heads[head](seen.float()), told[head], ignore_index=NOTHING)
            for head in sizes
            if (told[head] != NOTHING).any()
        ]
        return torch.stack(parts).sum()

    plan = Plan("nano-resnet", recipe.images // recipe.batch, recipe.batch, recipe.lr, 0.02, 200)
    fit(plan, learn, loss, lambda: score_resnet(model, heads, seeds, 2), tell)
    return model.eval(), score_resnet(model, heads, seeds, 10)


@torch.no_grad()
def score_resnet(model: ResNetModel, heads: nn.ModuleDict, seeds: Seeds, batches: int) -> dict[str, float]:
    """Share of patches labelled rightly: of things and colours where there is one, of counts everywhere."""
    model.eval()
    scores: dict[str, float] = {}
    for side, packs in (("public", PUBLIC), ("private", PRIVATE)):
        stream = iter(Cut(seeds, f"resnet/{side}", tuple(packs), 192, False))
        right, asked = dict.fromkeys(("thing", "colour", "count"), 0), dict.fromkeys(("thing", "colour", "count"), 0)
        for _ in range(batches):
            shown, told = next(stream)
            seen = model(pixel_values=shown).pooler_output.flatten(1)
            for head in right:
                there = told[head] > (0 if head != "count" else -1)
                right[head] += int(((heads[head](seen).argmax(-1) == told[head]) & there).sum())
                asked[head] += int(there.sum())
        scores |= {f"{side}/{head}": right[head] / max(1, asked[head]) for head in right}
    model.train()
    return scores
