"""NanoAdapters: low-rank changes to what the language model reads, none inside it.

    pictures -> vision tower -> connector -> h + s U_I D_I h  \\
                                                               language model
    words    ->              embeddings   -> h + s U_T D_T h  /

They bear the names of LoRA pairs, D being A and U being B, of the layer that puts out h. So every rule for LoRA pairs
takes them, and the product of a pair is [d, d].
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor, nn

from fedloom.adapters import _folder
from fedloom.adapters._folder import PREFIX, Home
from fedloom.adapters._pairs import Pairs
from fedloom.adapters._placed import Named, Placed, What, nothing_fully
from fedloom.core import lora, starts
from fedloom.core.components import component, reads_apart
from fedloom.core.contracts import Adapter, Base, Tree
from fedloom.core.device import device
from fedloom.core.errors import FedloomError
from fedloom.core.passage import Where
from fedloom.core.spec import AdapterSpec
from fedloom.core.table import Component

COMPONENTS: dict[Where, Component] = {"image": "connector", "text": "text"}
"""The component of ``adapter.where`` that asks for each adapter."""


def nano(spec: AdapterSpec) -> Adapter:
    """NanoAdapters: h + (alpha / rank) U D h on what the language model reads, nothing inside any layer.

    FedNano (arXiv 2506.14824). Of ``where``, ``"connector"`` is the adapter after the connector and ``"text"`` that on
    the embeddings of words; ``modules`` and ``names`` choose nothing.

    Raises:
        FedloomError: a start that is not this kind's.
    """
    if spec.init != "kaiming":
        raise FedloomError(
            f"adapter.init = {spec.init!r}: kind 'nano' sits beside no weight that it could start from; leave init at "
            "'kaiming'."
        )
    nothing_fully(spec)

    def touches(base: Base) -> frozenset[str]:
        sites(base.model, spec, base.generative)
        return frozenset()

    def place(base: Base) -> NanoAdapters:
        found = sites(base.model, spec, base.generative)
        width = base.model.get_input_embeddings().embedding_dim
        with torch.random.fork_rng(devices=[]):
            made = {where: NanoAdapter(layer, width, spec).to(device()) for where, (_, layer) in found.items()}
        names = {where: name for where, (name, _) in found.items()}
        return NanoAdapters(base, spec, made, names)

    return Adapter(touches, place, pairs=True, codes=True)


class NanoAdapters(Pairs):
    """The NanoAdapters ``made`` beside the layers ``names``."""

    def __init__(
        self, base: Base, spec: AdapterSpec, made: Mapping[Where, "NanoAdapter"], names: Mapping[Where, str]
    ) -> None:
        self.coders = dict(made)
        layers = {PREFIX + names[where]: adapter for where, adapter in made.items()}
        super().__init__(base, spec, frozenset(), layers, _begin)
        self.modules = tuple(made.values())

    def rescale(self, factor: float) -> None:
        """Nothing: what a NanoAdapter adds has the one scale that a host knows."""

    def weights(self) -> Tree:
        """Nothing: a NanoAdapter sits beside no weight."""
        return {}

    def check(self, tree: Named, what: What) -> None:
        """As for pairs; no change to a base fits.

        Raises:
            FedloomError: what does not fit.
        """
        if what == "base" and tree:
            Placed.check(self, tree, what)
        super().check(tree, what)

    def save(self, folder: Path, adapter: Named, base: Named, home: Home, card: str) -> None:
        """Write a folder that ``PeftModel.from_pretrained`` opens, as pairs and biases of the layers as they are."""
        self.check(adapter, "adapter")
        self.check(base, "base")
        tree = as_peft(self._layers, dict(adapter), self.spec.scale)
        _folder.write_tree(folder, tree, self.spec, list(self._layers), home, card)


def _begin(module: str, layer: Any, stream: torch.Generator) -> starts.Start:
    return starts.kaiming(layer.out_features, layer.in_features, layer.rank, stream)


class NanoAdapter(nn.Module):
    """D ``[r, d]`` and U ``[d, r]`` beside ``base_layer``, which puts out h ``[..., d]`` and is not changed. Its parts
    are called as those of PEFT's LoRA layers."""

    def __init__(self, base_layer: nn.Module, width: int, spec: AdapterSpec) -> None:
        super().__init__()
        self.in_features = self.out_features = width
        self.rank = spec.rank
        self._base = (base_layer,)  # not a submodule: its parameters are not this adapter's
        self.lora_A = nn.ModuleDict({"default": nn.Linear(width, spec.rank, bias=False)})
        self.lora_B = nn.ModuleDict({"default": nn.Linear(spec.rank, width, bias=False)})
        drop = nn.Dropout(spec.dropout) if spec.dropout else nn.Identity()
        self.lora_dropout = nn.ModuleDict({"default": drop})

    def get_base_layer(self) -> nn.Module:
        """The layer whose output is adapted."""
        return self._base[0]

    def codes(self, h: Tensor) -> Tensor:
        """``z = D h``: ``[..., d]`` to ``[..., r]``."""
        dropped: Tensor = self.lora_dropout["default"](h.to(self.down.dtype))
        return dropped @ self.down.T

    @property
    def down(self) -> Tensor:
        """D, live."""
        return self.lora_A["default"].weight  # type: ignore[return-value]

    @property
    def up(self) -> Tensor:
        """U, live."""
        return self.lora_B["default"].weight  # type: ignore[return-value]


def sites(model: Any, spec: AdapterSpec, generative: bool) -> dict[Where, tuple[str, nn.Module]]:
    """The layers whose output is adapted: the last of the connector, and the embeddings of words.

    Raises:
        FedloomError: the model has no language model, or no connector that ends in a linear layer of its width.
    """
    if not generative:
        raise FedloomError(
            "adapter.kind = 'nano': NanoAdapters stand before a language model, and a contrastive model has none. Use "
            "kind 'lora'."
        )
    words = model.get_input_embeddings()
    found: dict[Where, tuple[str, nn.Module]] = {}
    modules = dict(model.named_modules())
    ends = [
        (name, module)
        for name, module in modules.items()
        if isinstance(module, nn.Linear)
        and component(name, generative) == "connector"
        and module.out_features == words.embedding_dim
    ]
    if not ends or any("deepstack" in name for name in modules):
        raise FedloomError(
            f"adapter.kind = 'nano': a {model.config.model_type!r} has no connector that ends in one linear layer as "
            f"wide as its language model ({words.embedding_dim}). Use kind 'lora'."
        )
    wanted = spec.where or tuple(COMPONENTS.values())
    every = not spec.where or set(wanted) == set(get_args(Component))
    if not every and set(wanted) - set(COMPONENTS.values()):
        raise FedloomError(
            f"adapter.kind = 'nano' with where = {list(wanted)}: a NanoAdapter sits after the connector "
            "('connector') or on the embeddings of words ('text'). Name one or both."
        )
    if reads_apart(model):  # its decoder reads words too, which the adapter would not adapt
        if not every and "text" in wanted:
            raise FedloomError(
                f"adapter.kind = 'nano' with where = {list(wanted)}: the language model of {model.config.model_type!r} "
                "is an encoder-decoder, and a NanoAdapter on words would adapt those of the prompt and not of the "
                "answer. Set adapter.where = 'connector'."
            )
        wanted = tuple(part for part in wanted if part != "text")
    if "connector" in wanted:
        found["image"] = ends[-1]
    if "text" in wanted:
        found["text"] = next((name, module) for name, module in modules.items() if module is words)
    return found


def as_peft(adapters: dict[str, NanoAdapter], tree: Tree, scale: float) -> Tree:
    """The same change as PEFT writes it for the layers as they are.

    After a linear layer ``h = W x + b``: ``h + s U D h = W x + s U (D W) x + b + s U D b``, a pair with A = D W, B = U
    and another bias. On embeddings E ``[V, d]``: PEFT's pair for an embedding, A = D E^T ``[r, V]`` and B = U.
    """
    made: Tree = {}
    for name, adapter in adapters.items():
        layer: Any = adapter.get_base_layer()
        down, up = tree[name + lora.A].detach().cpu().float(), tree[name + lora.B].detach().cpu().float()
        weight = layer.weight.detach().cpu().float()
        if isinstance(layer, nn.Linear):
            made |= {name + lora.A: down @ weight, name + lora.B: up}
            if layer.bias is not None:
                bias = layer.bias.detach().cpu().float()
                made[f"{name}.base_layer.bias"] = bias + scale * (up @ (down @ bias))
        else:
            made |= {f"{name}.lora_embedding_A": down @ weight.T, f"{name}.lora_embedding_B": up}
    return made
