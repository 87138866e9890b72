"""An adapter on disk, as PEFT reads it: adapter_config.json, adapter_model.safetensors, README.md."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft import LoraConfig
from safetensors.torch import save
from torch import Tensor

from fedloom.core import lora
from fedloom.core.contracts import Tree
from fedloom.core.files import write_atomic
from fedloom.core.spec import AdapterSpec

PREFIX = "base_model.model."
"""What PEFT puts before a module's name."""


@dataclass(frozen=True)
class Home:
    """The model that an adapter belongs to: where it can be opened, and by which class of which module."""

    base: str
    kind: str
    module: str


def config(spec: AdapterSpec, modules: Sequence[str], **options: Any) -> LoraConfig:
    """PEFT's settings for ``spec`` on the layers with these names."""
    alpha = int(spec.alpha) if spec.alpha.is_integer() else spec.alpha
    given = {"r": spec.rank, "lora_alpha": alpha, "lora_dropout": spec.dropout, **options}
    return LoraConfig(target_modules=list(modules), **given)


def write(
    folder: Path,
    adapter: Mapping[str, Tensor],
    base: Mapping[str, Tensor],
    spec: AdapterSpec,
    home: Home,
    card: str,
) -> None:
    """Write ``adapter`` and the change to the base as one PEFT folder; each file appears whole or not at all."""
    pairs = lora.pairs(dict(adapter))
    modules = [module.removeprefix(PREFIX) for module in pairs]
    if not base and all(a.shape[0] == spec.rank for a, _ in pairs.values()):
        settings = config(spec, modules)
    else:
        pairs = fold(pairs, lora.pairs(dict(base)), spec.scale)
        settings = _folded_config(spec, {m.removeprefix(PREFIX): a.shape[0] for m, (a, _) in pairs.items()})
    _write(folder, lora.tree(pairs), settings, home, card)


def write_tree(folder: Path, tree: Tree, spec: AdapterSpec, modules: Sequence[str], home: Home, card: str) -> None:
    """Write tensors that already bear PEFT's names, for the layers ``modules``, under the scale of ``spec``."""
    ranks = {value.shape[0] for name, value in tree.items() if name.endswith((lora.A, ".lora_embedding_A"))}
    (rank,) = ranks
    options = {"r": rank, "lora_alpha": spec.scale * rank}
    names = [module.removeprefix(PREFIX) for module in modules]
    _write(folder, tree, config(spec, names, **options), home, card)


def _write(folder: Path, found: Tree, settings: LoraConfig, home: Home, card: str) -> None:
    settings.base_model_name_or_path = home.base
    settings.auto_mapping = {"base_model_class": home.kind, "parent_library": home.module}
    settings.inference_mode = True
    plain = {key: sorted(v) if isinstance(v, set) else v for key, v in settings.to_dict().items()}
    tree: Tree = {name: half.detach().cpu().contiguous() for name, half in found.items()}
    write_atomic(folder / "adapter_model.safetensors", save(tree, metadata={"format": "pt"}))
    write_atomic(folder / "adapter_config.json", json.dumps(plain, indent=2, sort_keys=True).encode())
    write_atomic(folder / "README.md", card.encode())


def fold(adapter: Mapping[str, lora.Pair], base: Mapping[str, lora.Pair], scale: float) -> dict[str, lora.Pair]:
    """One pair a module whose plain product is ``scale B A + B_base A_base``, of the sum of the two ranks."""
    folded: dict[str, lora.Pair] = {}
    for module, (a, b) in adapter.items():
        parts = [(scale, a, b)]
        if module in base:
            parts.append((1.0, *base[module]))
        folded[module] = lora.stack(parts)
    return folded


def _folded_config(spec: AdapterSpec, ranks: Mapping[str, int]) -> LoraConfig:
    """Settings under which PEFT scales every pair by 1: alpha = rank, module by module."""
    # PEFT matches a pattern at the end of a module's name; the anchor makes it the whole name.
    pattern = {f"^{re.escape(module)}": rank for module, rank in ranks.items()}
    highest = max(ranks.values())
    return config(spec, list(ranks), r=highest, lora_alpha=highest, rank_pattern=pattern, alpha_pattern=dict(pattern))
