"""Stage 1: the vision tower that both nano models share, trained on dense labels of random pictures."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from transformers import CLIPVisionConfig, CLIPVisionModel

from fedloom.core.seeds import Seeds
from fedloom.pretrain.pictures import HEADS, NOTHING, Pictures
from fedloom.tasks._icons.packs import PRIVATE, PUBLIC

Tell = Callable[[str], None]

WEIGHTS = {
    "thing": 1.0,
    "colour": 0.5,
    "x": 0.3,
    "y": 0.3,
    "size": 0.2,
    "hour": 0.3,
    "minute": 0.2,
    "parts": 0.3,
    "filled": 0.3,
}
"""How much each head counts in the loss."""


@dataclass(frozen=True)
class TowerRecipe:
    """Sizes and schedule of stage 1."""

    images: int = 260_000
    batch: int = 128
    lr: float = 2e-3
    weight_decay: float = 0.05
    width: int = 192
    layers: int = 6
    heads: int = 6


def tower_config(recipe: TowerRecipe) -> CLIPVisionConfig:
    """The architecture: a CLIP vision transformer that cuts 64 x 64 pixels into 16 patches."""
    return CLIPVisionConfig(
        hidden_size=recipe.width,
        intermediate_size=4 * recipe.width,
        projection_dim=recipe.width,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        image_size=64,
        patch_size=16,
        hidden_act="gelu",
        attn_implementation="sdpa",
    )


def clip_tower(recipe: TowerRecipe) -> CLIPVisionModel:
    """The tower of nano-clip and nano-vlm, untrained."""
    tower = CLIPVisionModel(tower_config(recipe))
    nn.init.normal_(tower.embeddings.position_embedding.weight, std=0.3)  # an icon is put together from its places
    return tower


def half() -> torch.autocast:
    """bfloat16, where the processor multiplies in it; elsewhere it would be slower than float32."""
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=torch.cpu._is_avx512_bf16_supported())


def schedule(step: int, steps: int, warmup: int = 200) -> float:
    """Linear warm-up, then a cosine down to zero."""
    return min(1.0, (step + 1) / warmup) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))


@dataclass(frozen=True)
class Plan:
    """Steps of a stage, examples in each, the highest rate, and after how many steps the scores are told."""

    name: str
    steps: int
    batch: int
    lr: float
    weight_decay: float = 0.05
    every: int = 300


def fit(
    plan: Plan,
    learn: Sequence[nn.Parameter],
    loss: Callable[[], Tensor],
    score: Callable[[], Mapping[str, float]],
    tell: Tell,
) -> None:
    """Take the steps of a stage, each with the loss of a batch of its own; the rate warms up and falls to nothing."""
    optimiser = torch.optim.AdamW(learn, lr=plan.lr, weight_decay=plan.weight_decay, betas=(0.9, 0.98))
    slope = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: schedule(step, plan.steps))
    begun = time.perf_counter()
    for step in range(plan.steps):
        value = loss()
        optimiser.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(learn, 1.0)
        optimiser.step()
        slope.step()
        if step % plan.every == plan.every - 1 or step == plan.steps - 1:
            told = " ".join(f"{name} {share:.2f}" for name, share in score().items())
            rate = (step + 1) * plan.batch / (time.perf_counter() - begun)
            tell(f"{plan.name} {step + 1}/{plan.steps} loss {value.item():.3f} {told} ({rate:.0f} examples/s)")


def dense_loss(hidden: Tensor, heads: nn.ModuleDict, labels: dict[str, Tensor]) -> Tensor:
    """Weighted sum of the heads' cross-entropies over ``[B, 16, width]`` patch features."""
    total = hidden.new_zeros(())
    for head, weight in WEIGHTS.items():
        if (labels[head] != NOTHING).any():
            total = total + weight * F.cross_entropy(heads[head](hidden).flatten(0, 1).float(), labels[head].flatten())
    return total


def patches(tower: Any, pictures: Tensor) -> Tensor:
    """``[B, 16, width]``: the last layer's patch features, without the class token."""
    hidden: Tensor = tower(pixel_values=pictures).last_hidden_state
    return hidden[:, 1:]


def train_tower(
    recipe: TowerRecipe, seeds: Seeds, tell: Tell, make: Callable[[TowerRecipe], Any] = clip_tower
) -> tuple[Any, dict[str, float]]:
    """Train the tower that ``make`` builds on the public packs; it, and its scores on public and on private packs."""
    torch.manual_seed(seeds.number("tower/init"))
    tower = make(recipe)
    tower.set_attn_implementation("eager")  # the fused one's backward is slower on a CPU
    heads = nn.ModuleDict(
        {head: nn.Sequential(nn.LayerNorm(recipe.width), nn.Linear(recipe.width, size)) for head, size in HEADS.items()}
    )
    learn = [*tower.parameters(), *heads.parameters()]
    stream = iter(DataLoader(Pictures(seeds, "tower/train", list(PUBLIC), augment=True), recipe.batch, num_workers=1))

    def loss() -> Tensor:
        pictures, labels = next(stream)
        with half():
            return dense_loss(patches(tower, pictures), heads, labels)

    plan = Plan("tower", recipe.images // recipe.batch, recipe.batch, recipe.lr, recipe.weight_decay, 200)
    fit(plan, learn, loss, lambda: score_tower(tower, heads, seeds), tell)
    return tower, score_tower(tower, heads, seeds, batches=16)


@torch.no_grad()
def score_tower(tower: Any, heads: nn.ModuleDict, seeds: Seeds, batches: int = 3) -> dict[str, float]:
    """Share of patches labelled rightly, where a thing is, for the main heads on public and on private packs."""
    tower.eval()
    scores: dict[str, float] = {}
    for side, packs in (("public", PUBLIC), ("private", PRIVATE)):
        stream = iter(DataLoader(Pictures(seeds, f"tower/{side}", list(packs), augment=False), 128))
        right = dict.fromkeys(("thing", "colour", "x", "hour", "filled"), 0)
        asked = dict(right)
        for _ in range(batches):
            pictures, labels = next(stream)
            hidden = patches(tower, pictures)
            for head in right:
                there = labels[head] > (0 if head in ("thing", "colour") else -1)
                right[head] += int(((heads[head](hidden).argmax(-1) == labels[head]) & there).sum())
                asked[head] += int(there.sum())
        scores |= {f"{side}/{head}": right[head] / max(1, asked[head]) for head in right}
    tower.train()
    return scores
