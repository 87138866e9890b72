"""An adapter on disk: adapter_config.json, adapter_model.safetensors, README.md. Of a kind that PEFT has, as PEFT reads
it; of another, as ``fedloom.models.opened`` does."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from fedloom.core import lora
from fedloom.core.contracts import Tree
from fedloom.core.errors import FedloomError
from fedloom.core.files import read_text, write_atomic
from fedloom.core.spec import AdapterSpec

if TYPE_CHECKING:
    from peft import LoraConfig

PREFIX = "base_model.model."
"""What PEFT puts before a module's name."""

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
OWN = "fedloom_adapter"
"""The key of the settings of an adapter that PEFT does not have."""


@dataclass(frozen=True)
class Home:
    """The model that an adapter belongs to: where it can be opened, by which class of which module, the hash of all
    that decides its outputs, and the ``commit`` of one from the hub."""

    base: str
    kind: str
    module: str
    fingerprint: str
    commit: str = ""


def config(spec: AdapterSpec, modules: Sequence[str], **options: Any) -> "LoraConfig":
    """PEFT's settings for ``spec`` on the layers with these names."""
    from peft import LoraConfig  # takes seconds to import: lists of kinds need not wait for it

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
    write_settings(folder, lora.tree(pairs), settings, home, card)


def write_tree(folder: Path, tree: Tree, spec: AdapterSpec, modules: Sequence[str], home: Home, card: str) -> None:
    """Write tensors that already bear PEFT's names, for the layers ``modules``, under the scale of ``spec``."""
    ranks = {value.shape[0] for name, value in tree.items() if name.endswith((lora.A, ".lora_embedding_A"))}
    (rank,) = ranks
    options = {"r": rank, "lora_alpha": spec.scale * rank}
    names = [module.removeprefix(PREFIX) for module in modules]
    write_settings(folder, tree, config(spec, names, **options), home, card)


def write_own(
    folder: Path, adapter: Mapping[str, Tensor], spec: AdapterSpec, classes: Sequence[str], home: Home, card: str
) -> None:
    """Write an adapter of a kind that PEFT does not have, by its leaves' names, for the ``classes`` of its task."""
    told = {
        OWN: spec.model_dump(mode="json"),
        "base_model_name_or_path": home.base,
        "base_model_fingerprint": home.fingerprint,
        "revision": home.commit or None,
        "classes": list(classes),
    }
    _files(folder, dict(adapter), told, card)


@dataclass(frozen=True)
class Own:
    """An adapter that ``write_own`` wrote: its settings, the model that it belongs to, and the classes of its task."""

    spec: AdapterSpec
    base: str
    fingerprint: str
    commit: str
    classes: tuple[str, ...]


def read_own(folder: Path) -> Own:
    """What ``write_own`` wrote beside the tensors.

    Raises:
        FedloomError: there is none.
    """
    path = folder / CONFIG
    try:
        told = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise FedloomError(f"{path}: cannot be read as an adapter's settings: {error}.") from None
    if isinstance(told, dict) and "peft_type" in told:
        raise FedloomError(f"{folder} is PEFT's. Fix: open it with PeftModel.from_pretrained, as its card says.")
    if not isinstance(told, dict) or not isinstance(told.get(OWN), dict):
        raise FedloomError(f"{path}: these are no settings of an adapter of fedloom's.")
    names = ("base_model_name_or_path", "base_model_fingerprint", "revision")
    base, fingerprint, commit = (str(told.get(name) or "") for name in names)
    classes = told.get("classes", [])
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise FedloomError(f"{path}: 'classes' is {classes!r}, expected a list of names.")
    return Own(AdapterSpec.parse(told[OWN]), base, fingerprint, commit, tuple(classes))


def tensors(folder: Path, file: str = TENSORS) -> Tree:
    """The tensors of the adapter in ``folder``, or of a ``file`` beside them.

    Raises:
        FedloomError: they cannot be read.
    """
    try:
        return load_file(folder / file)
    except (OSError, SafetensorError) as error:
        raise FedloomError(f"{folder / file}: cannot be read: {error}.") from None


def write_settings(folder: Path, found: Tree, settings: "LoraConfig", home: Home, card: str) -> None:
    """Write tensors that bear PEFT's names under PEFT's ``settings``."""
    settings.base_model_name_or_path, settings.revision = home.base, home.commit or None
    settings.auto_mapping = {"base_model_class": home.kind, "parent_library": home.module}
    settings.inference_mode = True
    _files(folder, found, {k: sorted(v) if isinstance(v, set) else v for k, v in settings.to_dict().items()}, card)


def _files(folder: Path, found: Tree, settings: Mapping[str, Any], card: str) -> None:
    tree: Tree = {name: value.detach().cpu().contiguous() for name, value in found.items()}
    write_atomic(folder / TENSORS, save(tree, metadata={"format": "pt"}))
    write_atomic(folder / CONFIG, json.dumps(settings, indent=2, sort_keys=True).encode())
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


def _folded_config(spec: AdapterSpec, ranks: Mapping[str, int]) -> "LoraConfig":
    """Settings under which PEFT scales every pair by 1: alpha = rank, module by module."""
    # PEFT matches a pattern at the end of a module's name; the anchor makes it the whole name.
    pattern = {f"^{re.escape(module)}": rank for module, rank in ranks.items()}
    highest = max(ranks.values())
    return config(spec, list(ranks), r=highest, lora_alpha=highest, rank_pattern=pattern, alpha_pattern=dict(pattern))
