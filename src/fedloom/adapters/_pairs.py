"""LoRA pairs by PEFT's names, whatever they sit beside, and the change to the weights there.

base_model.model.<module>.lora_A.weight   [r, k]     y = (W0 + B_base A_base) x + (alpha / rank) B A x
base_model.model.<module>.lora_B.weight   [d, r]
base_model.model.<module>.lora_R.weight   [r, r]     kind lora-sb: B R A in the place of B A

Where the adapter starts from the weights themselves (``adapter.init = "svd"``), W0 stands for what they are without it,
so that model and start adapter together are the checkpoint.
"""

import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fedloom.adapters import _folder, _fully
from fedloom.adapters._folder import PREFIX, Home
from fedloom.adapters._placed import Named, Placed, What, dropping, misshapen, refuse
from fedloom.adapters._select import owner, select
from fedloom.core import lora, starts
from fedloom.core.contracts import Base, Tree
from fedloom.core.spec import AdapterSpec


class Pairs(Placed):
    """Pairs beside ``layers``, each with ``lora_A``, ``lora_B``, ``lora_dropout`` and the sizes of a linear layer, by
    PEFT's module name. ``begin(module, layer, stream)``: where a pair starts; ``stream`` is that of the whole adapter.
    ``fully``: leaves that are parameters of the model itself.
    """

    library: Literal["peft", "fedloom"] = "peft"

    def __init__(
        self,
        base: Base,
        spec: AdapterSpec,
        touches: frozenset[str],
        layers: Mapping[str, Any],
        begin: Callable[[str, Any, torch.Generator], starts.Start],
        fully: Mapping[str, tuple[nn.Module, str]] = MappingProxyType({}),
    ) -> None:
        self._layers, self._fully = dict(layers), dict(fully)
        super().__init__(base, spec, touches, self._halves() | self._fully)
        self.layers = tuple(name.removeprefix(PREFIX) for name in self._layers)
        self._originals: dict[str, Tensor] = {}  # W0 of layers whose weight is changed, by PEFT's module name
        self._held: dict[str, lora.Pair] = {}  # what the start took out of a weight, as a plain product
        stream = base.seeds.torch("adapter/init")
        tree: Tree = {name: leaf for name, leaf in self.leaves().items() if name in self._fully}
        for module in sorted(self._layers):
            start = begin(module, self._layers[module], stream)
            tree |= {module + lora.A: start.a, module + lora.B: start.b}
            if start.r is not None:
                tree[module + lora.R] = start.r
            if start.held:
                self._hold(module, start)
        self.write(tree)

    def _hold(self, module: str, start: starts.Start) -> None:
        """Take out of a layer's weight what its start holds of it."""
        self._held[module] = start.a, -self.spec.scale * start.b
        weight = self._layers[module].get_base_layer().weight
        with torch.no_grad():
            weight.sub_(self.spec.scale * (start.b @ start.a).to(weight.device))

    def _halves(self) -> dict[str, tuple[nn.Module, str]]:
        """The linear layers A and B (and R) beside each adapted layer, by their weight's name."""
        found: dict[str, tuple[nn.Module, str]] = {}
        for module, layer in self._layers.items():
            first = layer.lora_A["default"]
            found |= {module + lora.A: (first, "weight"), module + lora.B: (layer.lora_B["default"], "weight")}
            if hasattr(first, "square"):
                found[module + lora.R] = first.square, "weight"
        return found

    def write(self, adapter: Named, base: Named | None = None) -> None:
        """Set the adapter, of any rank, and the weights to W0 + B A of ``base`` (W0 where it has no pair).

        Raises:
            FedloomError: names or shapes are not this adapter's; nothing is changed then.
        """
        super().write(adapter, base)
        self._write_base(lora.pairs(dict(base or {})))

    @torch.no_grad()
    def _write_base(self, pairs: Mapping[str, lora.Pair]) -> None:
        for module in sorted(self._originals.keys() | pairs.keys()):
            weight = self._layers[module].get_base_layer().weight
            if module not in pairs:
                weight.copy_(self._originals.pop(module))
                continue
            original = self._originals.setdefault(module, weight.detach().clone())
            a, b = (half.detach().to(weight.device, torch.float32) for half in pairs[module])
            weight.copy_(original + b @ a)

    def check(self, tree: Named, what: What) -> None:
        """Refuse pairs whose names or shapes do not fit: an ``adapter`` has all of them, of any rank, a ``base`` some
        and no R.

        Raises:
            FedloomError: the first three misfits.
        """
        whole, known = what == "adapter", self.parts.keys()
        wrong = [f"unexpected {name!r}" for name in sorted(tree.keys() - known)]
        wrong += [f"unexpected {n!r}" for n in sorted(tree) if (n.endswith(lora.R) or n in self._fully) and not whole]
        wrong += [f"missing {name!r}" for name in sorted(known - tree.keys())] if whole else []
        for module, (a, b) in lora.pairs(dict(tree)).items() if not wrong else ():
            layer = self._layers[module]
            if a.shape[0] < 1 or (b.shape[0], a.shape[1]) != (layer.out_features, layer.in_features):
                expected = f"A [r, {layer.in_features}] and B [{layer.out_features}, r]"
                wrong.append(f"{module!r} has A {list(a.shape)} and B {list(b.shape)}, expected {expected}")
            r = tree.get(module + lora.R)
            if r is not None and r.shape != (a.shape[0], a.shape[0]):
                wrong.append(f"{module!r} has R {list(r.shape)}, expected [{a.shape[0]}, {a.shape[0]}] as its A")
        wrong += misshapen(tree, self._fully) if not wrong else []
        refuse(self.base.name, what, wrong)

    def training(self) -> AbstractContextManager[None]:
        """While it lasts, pairs drop entries of what they read."""
        return dropping(self._layers.values(), self.spec.dropout)

    def rescale(self, factor: float) -> None:
        """From now on every B A counts ``factor`` times what alpha / rank says; 1 is as it was."""
        for layer in self._layers.values():
            layer.scaling["default"] = self.spec.scale * factor

    def weights(self) -> Tree:
        """The weight beside each pair, ``[d, k]``, by module."""
        return {module: layer.get_base_layer().weight for module, layer in self._layers.items()}

    def originals(self) -> list[tuple[Tensor, Tensor]]:
        """The weights that a change to the base has changed, live, each with what it was."""
        return [(self._layers[name].get_base_layer().weight, value) for name, value in self._originals.items()]

    def save(self, folder: Path, adapter: Named, base: Named, home: Home, card: str) -> None:
        """Write a folder that ``PeftModel.from_pretrained`` opens on the checkpoint as it is; the change to the base,
        what the start took out of it, and R are folded into the pairs."""
        self.check(adapter, "adapter")
        self.check(base, "base")
        adapter, own = _fully.parted(adapter, self._fully)
        _fully.write(folder, own)
        pairs = lora.pairs(dict(adapter))
        for module, (a, b) in pairs.items():
            if module + lora.R in adapter:
                pairs[module] = a, b @ adapter[module + lora.R]
        change = lora.pairs(dict(base))
        for module, pair in self._held.items():
            parts = [change[module], pair] if module in change else [pair]
            change[module] = lora.stack([(1.0, a.detach().cpu(), b.detach().cpu()) for a, b in parts])
        _folder.write(folder, lora.tree(pairs), lora.tree(change), self.spec, home, card)

    def opening(self, folder: Path) -> str:
        """Code that puts the parameters that learn themselves into the base."""
        return _fully.opening(folder, self._fully)


def components(base: Base, spec: AdapterSpec) -> frozenset[str]:
    """The components of the linear layers that ``spec`` chooses, and of the parameters that learn themselves.

    Raises:
        FedloomError: it chooses none.
    """
    found = (owner(base, name) for name in select(base.model, spec, base.generative))
    return frozenset(part for part in found if part is not None) | _fully.touched(base, spec)


def beside_linears(
    base: Base, spec: AdapterSpec, settings: Callable[[AdapterSpec, list[str]], Any] = _folder.config
) -> dict[str, Any]:
    """Put PEFT's layers where ``spec`` says; those layers by PEFT's module name. ``settings``: PEFT's, for the layers
    of these names.

    Raises:
        FedloomError: it chooses none.
    """
    from peft import get_peft_model  # takes seconds to import: lists of kinds need not wait for it
    from peft.tuners.lora import LoraLayer

    names = select(base.model, spec, base.generative)
    # PEFT draws from the global random stream, asks Transformers for a name that is on its way out, and warns of tied
    # weights, as the card does.
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.filterwarnings("ignore", "Model has `tie_word_embeddings")
        get_peft_model(base.model, settings(spec, names))
    base.model.eval()
    return {PREFIX + name: layer for name, layer in base.model.named_modules() if isinstance(layer, LoraLayer)}
