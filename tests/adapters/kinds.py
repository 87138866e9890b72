"""Every kind of adapter on every tiny model that takes it, found by listing the axis; and a task of four pictures."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from fedloom.core.contracts import Data, Example, Sample, Task, Tree
from fedloom.core.resolve import known
from tests.models.backbones import ANIMALS, KINDS, backbone
from tests.models.checkpoints import picture

Tiny = Callable[[str], Path]
NAMES = sorted(known("adapters"))
CONTRASTIVE = ("clip", "siglip")
TAKEN = {
    "attention": CONTRASTIVE,
    "clip-adapter": CONTRASTIVE,
    "head": CONTRASTIVE,
    "prompts": CONTRASTIVE,
    "visual-prompts": (*CONTRASTIVE, "llava", "llava_next"),
    "nano": ("llava", "llava_next", "instructblip", "qwen2_5_vl", "smolvlm", "minicpmv4_6"),
}
"""The models that a kind has a place in; a kind that does not stand here is for all of them."""
OPTIONS: dict[str, dict[str, Any]] = {
    "attention": {"reduction": 2},
    "clip-adapter": {"reduction": 2},
    "prompts": {"length": 3},
    "visual-prompts": {"length": 3},
}
PAIRS = {"rank": 2, "alpha": 4.0, "modules": ("q", "k", "v", "o", "mlp")}
INIT = {"lora-sb": "svd"}
TAKERS = [(kind, model) for kind in NAMES for model in TAKEN.get(kind, KINDS)]
REFUSERS = [(kind, model) for kind in NAMES for model in KINDS if model not in TAKEN.get(kind, KINDS)]


def spec(kind: str, **said: Any) -> dict[str, Any]:
    """What a small adapter of this kind is asked for with."""
    told = {"kind": kind, "options": OPTIONS.get(kind, {}), "init": INIT.get(kind, "kaiming"), **PAIRS, **said}
    return {key: value for key, value in told.items() if value}


def tuned(kind: str, folder: Path, said: dict[str, Any] | None = None, **options: Any) -> Any:
    """A tiny model with an adapter of this kind."""
    return backbone(folder, adapter=spec(kind, **(said or {})), classes=ANIMALS, **options)


def moved(tree: Tree, seed: int = 0, size: float = 0.05) -> Tree:
    """A tree with noise on it: an adapter that does something, of a model that is still one."""
    stream = torch.Generator().manual_seed(seed)
    return {name: value + size * torch.randn(value.shape, generator=stream) for name, value in tree.items()}


def equal(left: Tree, right: Tree) -> bool:
    """Whether two trees have the same names and bits."""
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def animals(train: int = 12, test: int = 6) -> Task:
    """Which of four animals a picture of noise shows."""

    def sample(number: int) -> Sample:
        name = ANIMALS[number % 4]
        return Sample(f"s{number:02d}", (picture(number),), None, "which animal ?", ANIMALS, name, meta={"label": name})

    def load() -> Data:
        samples = tuple(map(sample, range(train + test)))
        return Data(samples[:train], samples[train:])

    def word(sample: Sample) -> Example:
        pictures = sample.images or ()
        prompt = f"{'<image>' * len(pictures)}{sample.question}"
        return Example(sample.id, pictures, prompt, sample.choices, sample.answer, "a photo of the {}")

    return Task("animals", "accuracy", load, word, lambda sample, answer: float(answer == sample.answer))
