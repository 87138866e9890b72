"""Backbones on tiny checkpoints, and examples for them."""

from pathlib import Path
from typing import Any

import torch

from fedloom.core.contracts import Example, Tree
from fedloom.core.seeds import Seeds
from fedloom.models import AdapterSpec, load
from tests.models.checkpoints import picture

GENERATIVE = ("llava", "llava_next", "blip2", "instructblip", "qwen2_vl", "qwen2_5_vl", "idefics3", "smolvlm")
GENERATIVE += ("minicpmv4_6",)
KINDS = (
    "clip",
    "siglip",
    "llava",
    "llava_next",
    "instructblip",
    "qwen2_5_vl",
    "smolvlm",
    "minicpmv4_6",
)  # one of each family
ANIMALS = ("cat", "dog", "bird", "fish")
EVERYTHING = {"rank": 2, "alpha": 4, "modules": ("q", "k", "v", "o", "mlp")}


def backbone(folder: Path, seed: int = 0, adapter: dict[str, Any] | None = None, **options: Any) -> Any:
    """A backbone whose adapter sits everywhere unless ``adapter`` says otherwise."""
    return load(str(folder), adapter=AdapterSpec(**(adapter or EVERYTHING)), seeds=Seeds(seed), **options)


def examples(count: int = 4, first: int = 0) -> list[Example]:
    """Examples of one picture of noise and four choices, with prompts of different length."""
    return [
        Example(
            id=f"e{number}",
            images=(picture(number),),
            prompt=f"<image> which animal is this {'? ' * (number % 3)}answer :",
            choices=ANIMALS,
            answer=ANIMALS[number % 4],
            caption="a photo of the {}",
        )
        for number in range(first, first + count)
    ]


def shaken(tree: Tree, seed: int = 0, size: float = 0.3) -> Tree:
    """Random values in the place of a tree's: an adapter that does something."""
    stream = torch.Generator().manual_seed(seed)
    return {name: size * torch.randn(value.shape, generator=stream) for name, value in tree.items()}


def other_rank(tree: Tree, rank: int, seed: int = 0) -> Tree:
    """Random pairs of another rank for the same layers."""
    empty = {n: torch.empty(rank, v.shape[1]) for n, v in tree.items() if "lora_A" in n}
    empty |= {n: torch.empty(v.shape[0], rank) for n, v in tree.items() if "lora_B" in n}
    return shaken(empty, seed)
