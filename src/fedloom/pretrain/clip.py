"""Stage 2 of nano-clip: a text tower and CLIP's two projections, on icons of the public packs and their names."""

import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionModel, PreTrainedTokenizerFast

from fedloom.core.seeds import Seeds
from fedloom.pretrain.pictures import pixels, restyle
from fedloom.pretrain.tower import Tell, TowerRecipe, half, schedule, tower_config
from fedloom.tasks._icons.packs import PRIVATE, PUBLIC, classes, things
from fedloom.tasks._icons.scene import COLOURS, Item, Scene, draw
from fedloom.tasks._icons.words import spoken

CAPTIONS = ("a {} icon", "an icon of a {}", "{}")
"""How a name is worded in pre-training; the first is what the tasks use."""


@dataclass(frozen=True)
class ClipRecipe:
    """Sizes and schedule of stage 2."""

    images: int = 60_000
    batch: int = 128
    lr: float = 1e-3
    tower_lr: float = 3e-4
    text_width: int = 128
    text_layers: int = 2
    text_feed_forward: int = 384
    projection: int = 128


def clip_config(recipe: ClipRecipe, tokenizer: PreTrainedTokenizerFast) -> CLIPConfig:
    """The architecture: the shared tower beside a small causal text transformer."""
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.text_width,
        intermediate_size=recipe.text_feed_forward,
        num_hidden_layers=recipe.text_layers,
        num_attention_heads=4,
        max_position_embeddings=32,
        hidden_act="gelu",
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    vision = tower_config(TowerRecipe())
    return CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=recipe.projection)


def train_clip(
    recipe: ClipRecipe, tower: CLIPVisionModel, tokenizer: PreTrainedTokenizerFast, seeds: Seeds, tell: Tell
) -> tuple[CLIPModel, dict[str, float]]:
    """Train on the public packs, from a trained tower; returns the model and its zero-shot accuracies."""
    torch.manual_seed(seeds.number("clip/init"))
    model = CLIPModel(clip_config(recipe, tokenizer))
    model.vision_model.load_state_dict(tower.state_dict())
    tower_names = {name for name, _ in model.named_parameters() if name.startswith("vision_model")}
    groups = [
        {"params": [p for n, p in model.named_parameters() if (n in tower_names) == old], "lr": lr}
        for old, lr in ((True, recipe.tower_lr), (False, recipe.lr))
    ]
    optimiser = torch.optim.AdamW(groups, weight_decay=0.05, betas=(0.9, 0.98))
    steps = recipe.images // recipe.batch
    slope = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: schedule(step, steps, warmup=50))
    rng = seeds.numpy("clip/train")
    begun = time.perf_counter()
    for step in range(steps):
        pictures, labels = icons(rng, list(PUBLIC), recipe.batch, augment=True)
        caption = CAPTIONS[rng.integers(len(CAPTIONS))]
        with half():
            logits = similarity(model, pictures, name_tokens(tokenizer, caption))
        loss = F.cross_entropy(logits.float(), labels)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        slope.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=float(np.log(100)))
        if step % 100 == 99 or step == steps - 1:
            rate = (step + 1) * recipe.batch / (time.perf_counter() - begun)
            told = " ".join(f"{k} {v:.3f}" for k, v in score_clip(model, tokenizer, seeds, 4).items())
            tell(f"nano-clip {step + 1}/{steps} loss {loss.item():.3f} {told} ({rate:.0f} images/s)")
    return model, score_clip(model, tokenizer, seeds, 16)


def icons(rng: np.random.Generator, packs: list[str], count: int, augment: bool) -> tuple[Tensor, Tensor]:
    """``count`` pictures of one icon each ``[count, 3, 64, 64]`` and the classes' numbers ``[count]``."""
    index = {name: k for k, name in enumerate(classes())}
    colours = tuple(COLOURS)
    pictures, labels = [], []
    for _ in range(count):
        pack = packs[rng.integers(len(packs))]
        name = things(pack)[rng.integers(len(things(pack)))]
        size = rng.uniform(0.7, 0.95)
        slack = (1 - size) / 2
        x, y = 0.5 + rng.uniform(-slack, slack), 0.5 + rng.uniform(-slack, slack)
        scene = Scene((Item(name, pack, colours[rng.integers(len(colours))], x, y, size),))
        pictures.append(pixels(draw(scene, warp=(lambda mask: restyle(mask, rng)) if augment else None)))
        labels.append(index[name])
    return torch.stack(pictures), torch.tensor(labels)


def name_tokens(tokenizer: PreTrainedTokenizerFast, caption: str) -> dict[str, Tensor]:
    """All class names worded with ``caption``."""
    texts = [caption.format(spoken(name)) for name in classes()]
    return dict(tokenizer(texts, padding=True, return_tensors="pt"))


def similarity(model: CLIPModel, pictures: Tensor, names: dict[str, Tensor]) -> Tensor:
    """``[B, 377]``: scaled cosine of each picture and each name."""
    out = model(input_ids=names["input_ids"], attention_mask=names["attention_mask"], pixel_values=pictures)
    return out.logits_per_image  # type: ignore[no-any-return]


@torch.no_grad()
def score_clip(model: CLIPModel, tokenizer: PreTrainedTokenizerFast, seeds: Seeds, batches: int) -> dict[str, float]:
    """Share of icons named rightly among all classes, on public and on private packs."""
    model.eval()
    names = name_tokens(tokenizer, CAPTIONS[0])
    scores: dict[str, float] = {}
    for side, packs in (("public", PUBLIC), ("private", PRIVATE)):
        rng = seeds.numpy(f"clip/{side}")
        right = 0
        for _ in range(batches):
            pictures, labels = icons(rng, list(packs), 64, augment=False)
            right += int((similarity(model, pictures, names).argmax(-1) == labels).sum())
        scores[side] = right / (64 * batches)
    model.train()
    return scores
