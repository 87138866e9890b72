"""The part every backbone shares: a frozen model, its LoRA leaves by PEFT name, and the change to its base weights.

base_model.model.<module>.lora_A.weight   [r, k]     y = (W0 + B_base A_base) x + (alpha / rank) B A x
base_model.model.<module>.lora_B.weight   [d, r]
base_model.model.<module>.lora_R.weight   [r, r]     kind lora-sb: B R A in the place of B A

Kind nano: y = h + (alpha / rank) B A h with h = W0 x, under the same names; there is no change to a base then.

Where the adapter starts from the weights themselves (``adapter.init = "svd"``), W0 stands for what they are without it,
so that model and start adapter together are the checkpoint.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import PIL
import torch
import transformers
from torch import Tensor, nn

from fedloom.adapters import _peft_folder as peft_folder
from fedloom.adapters import nano as nano_adapters
from fedloom.adapters._layers import check_fit, place
from fedloom.adapters._peft_folder import PREFIX
from fedloom.adapters.lora_sb import Squared
from fedloom.adapters.nano import NanoAdapter
from fedloom.core import lora, starts
from fedloom.core.components import component
from fedloom.core.contracts import Example, Tree
from fedloom.core.device import device
from fedloom.core.errors import FedloomError
from fedloom.core.passage import Where
from fedloom.core.pictures import RULES
from fedloom.core.seeds import Seeds
from fedloom.core.spec import AdapterSpec
from fedloom.core.table import Component
from fedloom.models import usage
from fedloom.models.checkpoints.checkpoint import Checkpoint
from fedloom.models.vision.features import FeatureCache
from fedloom.models.vision.images import Images


@dataclass(frozen=True)
class Options:
    """How a backbone computes. ``loss``: see ``Contrastive``. ``normalise``: rank choices by mean instead of summed
    log-likelihood. ``max_new_tokens``: the longest free answer. ``answer_batch``: examples answered at once."""

    dtype: Literal["float32", "bfloat16"] = "float32"
    loss: Literal["classes", "contrastive"] = "classes"
    normalise: bool = False
    max_new_tokens: int = 16
    answer_batch: int = 32


class LoraBackbone(ABC):
    """A checkpoint with LoRA pairs in it; subclasses say what a batch, its loss and an answer are."""

    _images: Images

    def __init__(
        self, checkpoint: Checkpoint, spec: AdapterSpec, seeds: Seeds, cache: FeatureCache, options: Options
    ) -> None:
        self.name = checkpoint.name
        self.fingerprint, self.identity, self.commit = checkpoint.fingerprint, checkpoint.identity, checkpoint.commit
        self.total_parameters: int = checkpoint.parameters or sum(p.numel() for p in checkpoint.model.parameters())
        self._model, self._processor = checkpoint.model, checkpoint.processor
        self._generative, self._whole = checkpoint.generative, checkpoint.whole
        self._spec, self._seeds, self._cache, self._options = spec, seeds, cache, options
        self._nano: dict[Where, NanoAdapter] = {}
        if spec.kind == "nano":
            found = nano_adapters.sites(self._model, spec, self._generative)
            width = self._model.get_input_embeddings().embedding_dim
            with torch.random.fork_rng(devices=[]):
                self._nano = {w: NanoAdapter(layer, width, spec).to(device()) for w, (_, layer) in found.items()}
            self._layers: dict[str, Any] = {PREFIX + name: self._nano[where] for where, (name, _) in found.items()}
        else:
            self._layers = place(self._model, spec, self._generative)
        self._originals: dict[str, Tensor] = {}  # W0 of layers whose weight is changed, by PEFT's module name
        self._held: dict[str, lora.Pair] = {}  # what the start took out of a weight, as a plain product
        self._leaves: Tree = {}
        self._parts: dict[str, str] = {}  # part of the model -> its folder in the cache
        self._drops = spec.dropout > 0
        with torch.random.fork_rng(devices=[]):
            self._start()

    def _start(self) -> None:
        """Give every layer its start, and take out of its weight what the start holds of it."""
        stream = self._seeds.torch("adapter/init")
        tree: Tree = {}
        for module in sorted(self._layers):
            start = self._begin(module, stream)
            tree |= {module + lora.A: start.a, module + lora.B: start.b}
            if start.r is not None:
                tree[module + lora.R] = start.r
            if start.held:
                self._held[module] = start.a, -self._spec.scale * start.b
                weight = self._layers[module].get_base_layer().weight
                with torch.no_grad():
                    weight.sub_(self._spec.scale * (start.b @ start.a).to(weight.device))
        self._leaves = {name: half.weight for name, half in self._halves().items()}
        self.write(tree)

    def _begin(self, module: str, stream: torch.Generator) -> starts.Start:
        spec, layer = self._spec, self._layers[module]
        if spec.init == "kaiming":  # of kind nano always
            return starts.kaiming(layer.out_features, layer.in_features, spec.rank, stream)
        if spec.init == "update":
            return starts.unknown(layer.out_features, layer.in_features, spec.rank, stream, module)
        weight = layer.get_base_layer().weight
        if spec.kind == "lora-sb":
            return starts.between(weight, spec.rank, self._seeds, module)
        return starts.pissa(weight, spec.rank, spec.scale, self._seeds, module)

    def _halves(self) -> dict[str, nn.Linear]:
        """The linear layers A and B (and R) beside each adapted layer, by their weight's name, sorted."""
        found: dict[str, nn.Linear] = {}
        for module, layer in self._layers.items():
            first = layer.lora_A["default"]
            found |= {module + lora.A: first, module + lora.B: layer.lora_B["default"]}
            if isinstance(first, Squared):
                found[module + lora.R] = first.square
        return dict(sorted(found.items()))

    # --- the adapter and the base ---------------------------------------------------------------------------------

    def leaves(self) -> Tree:
        """The live adapter tensors by PEFT name. ``write`` replaces those whose rank changes: ask again after it."""
        return dict(self._leaves)

    def read(self) -> Tree:
        """A detached CPU copy of the adapter."""
        return {name: leaf.detach().cpu().clone() for name, leaf in self._leaves.items()}

    @torch.no_grad()
    def write(self, adapter: Mapping[str, Tensor], base: Mapping[str, Tensor] | None = None) -> None:
        """Set the adapter, of any rank, and the weights to W0 + B A of ``base`` (W0 where it has no pair).

        Raises:
            FedloomError: names or shapes are not this backbone's; nothing is changed then.
        """
        self._fits(adapter, "adapter")
        self._fits(base or {}, "base")
        for name, half in self._halves().items():
            value, leaf = adapter[name].detach(), self._leaves[name]
            if value.shape != leaf.shape:
                half.weight = nn.Parameter(value.to(leaf.device, leaf.dtype, copy=True))
                self._leaves[name] = half.weight
            else:
                leaf.copy_(value)
        self._write_base(lora.pairs(dict(base or {})))

    def _write_base(self, pairs: Mapping[str, lora.Pair]) -> None:
        for module in sorted(self._originals.keys() | pairs.keys()):
            weight = self._layers[module].get_base_layer().weight
            if module not in pairs:
                weight.copy_(self._originals.pop(module))
                continue
            original = self._originals.setdefault(module, weight.detach().clone())
            a, b = (half.detach().to(weight.device, torch.float32) for half in pairs[module])
            weight.copy_(original + b @ a)

    def _fits(self, tree: Mapping[str, Tensor], what: Literal["adapter", "base"]) -> None:
        if tree and what == "base" and self._nano:
            raise FedloomError(
                "adapter.kind = 'nano': its method changes the base, but a NanoAdapter sits beside no weight. Use a "
                "method that averages adapters, such as fedavg or fednano."
            )
        check_fit(self.name, tree, self._leaves.keys(), self._layers, what)

    def save(self, folder: Path, adapter: Mapping[str, Tensor], base: Mapping[str, Tensor] | None, card: str) -> None:
        """Write a folder that ``PeftModel.from_pretrained`` opens on the checkpoint as it is; the change to the base,
        what the start took out of it, and R are folded into the pairs."""
        self._fits(adapter, "adapter")
        self._fits(base or {}, "base")
        home = peft_folder.Home(self.base_address, type(self._model).__name__, type(self._model).__module__)
        if self._nano:
            tree = nano_adapters.as_peft(self._layers, dict(adapter), self._spec.scale)
            peft_folder.write_tree(folder, tree, self._spec, list(self._layers), home, card)
            return
        pairs = lora.pairs(dict(adapter))
        for module, (a, b) in pairs.items():
            if module + lora.R in adapter:
                pairs[module] = a, b @ adapter[module + lora.R]
        change = lora.pairs(dict(base or {}))
        for module, pair in self._held.items():
            parts = [change[module], pair] if module in change else [pair]
            change[module] = lora.stack([(1.0, a.detach().cpu(), b.detach().cpu()) for a, b in parts])
        peft_folder.write(folder, lora.tree(pairs), lora.tree(change), self._spec, home, card)

    @property
    def base_address(self) -> str:
        """Where the checkpoint can be opened: a folder, or a Hugging Face id."""
        return usage.base_of(self.name)

    @property
    def tied_layers(self) -> list[str]:
        """Adapted layers whose weight another layer has too: an adapter there cannot be merged."""
        return usage.shared(self._model, [m.removeprefix(PREFIX) for m in self._layers], self._whole)

    def how_to_use(self, folder: Path) -> str:
        """How to use the adapter in ``folder``, in Markdown."""
        return usage.told(self.name, self._model, folder, self.tied_layers)

    def _frozen(self, part: Component) -> bool:
        """Whether no adapter and no change to the base sits in ``part``, so that what it puts out can be kept."""
        inside = () if self._nano else self._layers
        return all(component(m.removeprefix(PREFIX), self._generative) != part for m in inside)

    # --- computing ------------------------------------------------------------------------------------------------

    def _autocast(self) -> torch.autocast:
        return torch.autocast(device().type, torch.bfloat16, enabled=self._options.dtype == "bfloat16")

    @contextmanager
    def _dropout(self, ids: Sequence[str]) -> Iterator[None]:
        """LoRA dropout for one batch, drawn from a stream named by its examples and the adapter's state: the same step
        from the same state drops the same entries, whatever ran before it."""
        if not self._drops or not torch.is_grad_enabled():
            yield
            return
        state = hashlib.sha256("/".join(ids).encode())
        for leaf in self._leaves.values():
            state.update(leaf.detach().cpu().numpy().tobytes())
        drops = [layer.lora_dropout for layer in self._layers.values()]
        with torch.random.fork_rng():
            torch.manual_seed(self._seeds.number(f"dropout/{state.hexdigest()}"))
            for drop in drops:
                drop.train()
            try:
                yield
            finally:
                for drop in drops:
                    drop.eval()

    @contextmanager
    def steady(self) -> Iterator[None]:
        """While it lasts, a loss is a function of its batch and the adapter alone: without dropout."""
        before, self._drops = self._drops, False
        try:
            yield
        finally:
            self._drops = before

    def slopes(self, examples: Sequence[Example]) -> Tree:
        """The gradient of the examples' summed losses by the weight beside each pair, ``[d, k]`` by module, on the CPU
        and in float32: of the model with the adapter that it has, without dropout."""
        weights = {module: layer.get_base_layer().weight for module, layer in self._layers.items()}
        for weight in weights.values():
            weight.requires_grad_()
        try:
            with self.steady():
                loss = self.loss(self.collate(examples)).sum()
            if not loss.requires_grad:  # what is adapted is behind pictures, and there is none
                return {module: torch.zeros(weight.shape) for module, weight in weights.items()}
            found = torch.autograd.grad(loss, list(weights.values()), allow_unused=True, materialize_grads=True)
            return {module: slope.cpu().float() for module, slope in zip(weights, found, strict=True)}
        finally:
            for weight in weights.values():
                weight.requires_grad_(False)

    def _key(self, part: str, content: str) -> str:
        """The cache's name for what ``part`` puts out for ``content``: everything that may change its bits is in it."""
        if part not in self._parts:
            made = (torch.__version__, transformers.__version__, PIL.__version__, RULES)
            settings = (self.fingerprint, part, self._options.dtype, *made, device().type)
            pixels = self._processor.image_processor.to_json_string() if part != "text" else ""
            self._parts[part] = hashlib.sha256("|".join((*settings, pixels)).encode()).hexdigest()[:16]
        return f"{self._parts[part]}/{hashlib.sha256(content.encode()).hexdigest()}"

    def check(self, examples: Sequence[Example], trained: bool) -> None:
        """Refuse examples that the model cannot take, before anything is trained: here, those with such pictures.

        ``trained``: their answers are learned; else one of their choices is chosen, or text is generated.

        Raises:
            FedloomError: a picture that cannot be opened, or has a shape that its processor was not made for.
        """
        self._images.check((example.id, picture) for example in examples for picture in example.images)

    @abstractmethod
    def collate(self, examples: Sequence[Example]) -> Any:
        """A batch as ``loss`` wants it, on the device."""

    @abstractmethod
    def loss(self, batch: Any) -> Tensor:
        """Loss of each example, ``[B]``."""

    @abstractmethod
    def answer(self, examples: Sequence[Example]) -> list[str]:
        """An answer an example, in order."""


def not_finite(example: Example, what: str) -> FedloomError:
    """The error of an example that the model has no finite scores for."""
    return FedloomError(
        f"example {example.id!r}: the model's scores of its {what} are not finite numbers; none is the likeliest. "
        "Lower client.lr or the server's rate and start anew; before round 1, choose a whole checkpoint."
    )
