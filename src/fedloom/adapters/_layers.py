"""LoRA pairs beside a model's layers, and whether named tensors fit them."""

import warnings
from collections.abc import Collection, Mapping
from typing import Any, Literal

import torch
from peft import get_peft_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from fedloom.adapters import _peft_folder as peft_folder
from fedloom.adapters._peft_folder import PREFIX
from fedloom.adapters._select import select
from fedloom.adapters.lora_sb import Squared
from fedloom.core import lora
from fedloom.core.errors import FedloomError
from fedloom.core.spec import AdapterSpec


def place(model: nn.Module, spec: AdapterSpec, generative: bool) -> dict[str, LoraLayer]:
    """Put LoRA pairs beside the layers that ``spec`` chooses; those layers by PEFT's module name."""
    names = select(model, spec, generative)
    # PEFT draws from the global random stream, asks Transformers for a name that is on its way out, and warns of tied
    # weights, as the card does.
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.filterwarnings("ignore", "Model has `tie_word_embeddings")
        get_peft_model(model, peft_folder.config(spec, names))
    layers = {PREFIX + n: layer for n, layer in model.named_modules() if isinstance(layer, LoraLayer)}
    if spec.kind == "lora-sb":
        for layer in layers.values():
            layer.lora_A["default"] = Squared(layer.lora_A["default"])
    model.eval()
    return layers


def check_fit(
    name: str,
    tree: Mapping[str, Tensor],
    known: Collection[str],
    layers: Mapping[str, Any],
    what: Literal["adapter", "base"],
) -> None:
    """Refuse tensors whose names or shapes are not those of the pairs beside ``layers`` of the model ``name``.

    Args:
        name: the model, for the message.
        tree: A ``[r, k]``, B ``[d, r]`` and R ``[r, r]`` by PEFT's names.
        known: the names that there are; an ``adapter`` has all of them, a ``base`` some and no R.
        layers: the adapted layers by PEFT's module name.
        what: which of the two it is.

    Raises:
        FedloomError: the first three misfits.
    """
    whole = what == "adapter"
    wrong = [f"unexpected {name!r}" for name in sorted(tree.keys() - known)]
    wrong += [f"unexpected {name!r}" for name in sorted(tree) if name.endswith(lora.R) and not whole]
    wrong += [f"missing {name!r}" for name in sorted(set(known) - tree.keys())] if whole else []
    for module, (a, b) in lora.pairs(dict(tree)).items() if not wrong else ():
        layer = layers[module]
        if a.shape[0] < 1 or (b.shape[0], a.shape[1]) != (layer.out_features, layer.in_features):
            expected = f"A [r, {layer.in_features}] and B [{layer.out_features}, r]"
            wrong.append(f"{module!r} has A {list(a.shape)} and B {list(b.shape)}, expected {expected}")
        r = tree.get(module + lora.R)
        if r is not None and r.shape != (a.shape[0], a.shape[0]):
            wrong.append(f"{module!r} has R {list(r.shape)}, expected [{a.shape[0]}, {a.shape[0]}] as its A")
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise FedloomError(
            f"{what}: does not fit {name!r}: {'; '.join(wrong[:3])}{more}. Is it an adapter of another model? Or of "
            "other adapter.where or adapter.modules?"
        )
