"""The part every backbone shares: a frozen model with one adapter in it, frozen features that are kept, and files.

What learns is the adapter's business (``fedloom.adapters``): a backbone asks it for its leaves, and at the few places
where an adapter may act that is no layer of the model. Which features can be kept follows from what it ``touches``.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import PIL
import torch
import transformers
from torch import Tensor

from fedloom.adapters import Home, Placed
from fedloom.core import resolve
from fedloom.core.contracts import Base, Example, Outputs, Part, Tree
from fedloom.core.device import device
from fedloom.core.errors import FedloomError
from fedloom.core.pictures import RULES
from fedloom.core.seeds import Seeds
from fedloom.core.spec import AdapterSpec
from fedloom.core.table import Component
from fedloom.models import usage
from fedloom.models.checkpoints.checkpoint import Checkpoint
from fedloom.models.options import Options
from fedloom.models.outputs import Aside, undeclared
from fedloom.models.vision.features import FeatureCache
from fedloom.models.vision.images import Images


class Tuned(ABC):
    """A checkpoint with an adapter in it; subclasses say what a batch, its outputs and an answer are. ``spec``:
    ``None`` puts none in it (a teacher). ``vocabulary``: ids by token of a model that answers in text."""

    _images: Images
    vocabulary: dict[str, int] | None = None
    offers: tuple[Part, ...] = ()
    lacks: Mapping[Part, str] = MappingProxyType({})
    """Why it lacks a part of the outputs, and what would fit."""

    def __init__(
        self, checkpoint: Checkpoint, spec: AdapterSpec | None, seeds: Seeds, cache: FeatureCache, options: Options
    ) -> None:
        self.name = checkpoint.name
        self.fingerprint, self.identity, self.commit = checkpoint.fingerprint, checkpoint.identity, checkpoint.commit
        self.total_parameters: int = checkpoint.parameters or sum(p.numel() for p in checkpoint.model.parameters())
        self._model, self._processor = checkpoint.model, checkpoint.processor
        self._generative, self._whole = checkpoint.generative, checkpoint.whole
        self._seeds, self._cache, self._options = seeds, cache, options
        self._parts: dict[str, str] = {}  # part of the model -> its folder in the cache
        self._steady = False
        self._objective = options.objective
        base = Base(
            self.name, self._model, self._generative, checkpoint.matching, seeds, options.classes, self._processor
        )
        with torch.random.fork_rng(devices=[]):
            if spec is None:
                self._adapter = Placed(base, AdapterSpec(), frozenset(), {})
            else:
                self._adapter = resolve.build("adapters", spec.kind, spec.options, spec=spec).place(base)
        self._start: Tree = {}
        self._before: dict[tuple[str, str], Tensor] = {}  # log-likelihoods without the adapter

    # --- the adapter and the base ---------------------------------------------------------------------------------

    def leaves(self) -> Tree:
        """The live adapter tensors by name. ``write`` replaces those whose rank changes: ask again after it."""
        return self._adapter.leaves()

    def read(self) -> Tree:
        """A detached CPU copy of the adapter."""
        return {name: leaf.detach().cpu().clone() for name, leaf in self.leaves().items()}

    def write(self, adapter: Mapping[str, Tensor], base: Mapping[str, Tensor] | None = None) -> None:
        """Set the adapter, of any rank, and the weights to W0 + B A of ``base`` (W0 where it has no pair).

        Raises:
            FedloomError: names or shapes are not this backbone's; nothing is changed then.
        """
        self._adapter.write(adapter, base)

    def save(self, folder: Path, adapter: Mapping[str, Tensor], base: Mapping[str, Tensor] | None, card: str) -> None:
        """Write a folder that ``PeftModel.from_pretrained`` opens on the checkpoint as it is; of a kind of adapter that
        PEFT does not have, one that ``fedloom.models.opened`` does."""
        made = type(self._model)
        home = Home(self.base_address, made.__name__, made.__module__, self.fingerprint, self.commit)
        self._adapter.save(folder, adapter, base or {}, home, card)

    @property
    def base_address(self) -> str:
        """Where the checkpoint can be opened: a folder, or a Hugging Face id."""
        return usage.base_of(self.name)

    @property
    def tied_layers(self) -> list[str]:
        """Adapted layers whose weight another layer has too: an adapter there cannot be merged."""
        return usage.shared(self._model, self._adapter.layers, self._whole)

    def rescale(self, factor: float) -> None:
        """From now on every B A counts ``factor`` times what alpha / rank says; 1 is as it was."""
        self._adapter.rescale(factor)

    def without_adapter(self) -> AbstractContextManager[None]:
        """While it lasts, the model is as it was before the adapter (``fedloom.adapters.Placed.without``)."""
        return self._adapter.without()

    @property
    def library(self) -> Literal["peft", "fedloom"]:
        """Which library opens what ``save`` writes."""
        return self._adapter.library

    def how_to_use(self, folder: Path) -> str:
        """How to use the adapter in ``folder``, in Markdown."""
        if self.library == "fedloom":
            return usage.opened(folder)
        return usage.told(self.name, self._model, folder, self.tied_layers, self._adapter.opening(folder))

    def _frozen(self, part: Component) -> bool:
        """Whether what ``part`` puts out depends on nothing that learns, so that it can be kept."""
        return part not in self._adapter.touches

    # --- computing ------------------------------------------------------------------------------------------------

    def _autocast(self) -> torch.autocast:
        return torch.autocast(device().type, torch.bfloat16, enabled=self._options.dtype == "bfloat16")

    def _dropout(self) -> AbstractContextManager[None]:
        """Dropout for one batch, where gradients are wanted. It is drawn from torch's global generator, which the
        training loop seeds before each step."""
        return self._adapter.training() if self._training else nullcontext()

    @property
    def _training(self) -> bool:
        """Whether what is random in training is drawn."""
        return torch.is_grad_enabled() and not self._steady

    @contextmanager
    def steady(self) -> Iterator[None]:
        """While it lasts, a loss is a function of its batch and the adapter alone: without dropout."""
        before, self._steady = self._steady, True
        try:
            yield
        finally:
            self._steady = before

    def slopes(self, examples: Sequence[Example]) -> Tree:
        """The gradient of the examples' summed losses by the weight beside each pair, ``[d, k]`` by module, on the CPU
        and in float32: of the model with the adapter that it has, without dropout."""
        weights = self._adapter.weights()
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
        if trained:
            self._options.objective.check(examples)
            if self._options.teacher:
                self._options.teacher.model.check(examples, trained)
        self._images.check((example.id, picture) for example in examples for picture in example.images)

    @abstractmethod
    def collate(self, examples: Sequence[Example]) -> Any:
        """A batch as ``loss`` wants it, on the device."""

    @abstractmethod
    def outputs(self, batch: Any) -> Outputs:
        """What an objective asks for."""

    def outputs_of(self, examples: Sequence[Example]) -> Outputs:
        """The outputs for examples."""
        return self.outputs(self.collate(examples))

    def content(self, example: Example) -> str:
        """All of an example that decides what the model puts out for it: its words, and hashes of its pictures."""
        seen = [self._images.digest(picture) for picture in example.images]
        words = (example.prompt, example.choices, example.answer, example.caption, example.captions)
        return repr((seen, *words))

    def loss(self, batch: Any) -> Tensor:
        """Loss of each example, ``[B]``, as the objective has it."""
        return self._objective.loss(self.outputs(batch))

    def begin_turn(self, examples: Sequence[Example], done: float) -> None:
        """From now on what is minimised is the objective of a turn on these examples, so much of the run done."""
        turn = self._options.objective.turn
        self._objective = turn(examples, done) if turn else self._options.objective

    def _aside(self, examples: Sequence[Example]) -> Aside:
        return Aside(examples, self._options.teacher, self._reference)

    def _check_objective(self) -> None:
        """Refuse an objective that this model has not the outputs for.

        Raises:
            FedloomError: naming what would fit; or a teacher that predicts something else.
        """
        if missing := [part for part in self._options.objective.needs if part not in self.offers]:
            raise FedloomError(f"objective: {self.name!r} {self.lacks[missing[0]]}")
        if "likelihoods" in self._options.objective.needs:
            self._start = self.read()
        if self._options.teacher:
            self._options.teacher.check(self)
            self.identity = {**self.identity, "teacher": self._options.teacher.model.fingerprint}

    @torch.no_grad()
    def _reference(self, examples: Sequence[Example], texts: Sequence[str]) -> Tensor:
        """Log-likelihoods ``[B]`` of texts as answers, without the adapter: computed once for each, one by one, so that
        its bits depend on no batch."""
        if not self._start:
            raise undeclared("reference", "List 'likelihoods' in 'needs'.")
        keys = [(self.content(example), text) for example, text in zip(examples, texts, strict=True)]
        for key, example in zip(keys, examples, strict=True):
            if key not in self._before:
                with self._switched_off():
                    self._before[key] = self.outputs_of([example]).likelihoods([key[1]])[0][0].cpu()
        return torch.stack([self._before[key] for key in keys]).to(device())

    @contextmanager
    def _switched_off(self) -> Iterator[None]:
        """While it lasts, the model is as it was before anything learned. Nothing is written in place: what was
        computed before can still be differentiated after it."""
        pairs = [(leaf, self._start[name].to(leaf)) for name, leaf in self.leaves().items()]
        pairs += self._adapter.originals()
        now = [live.data for live, _ in pairs]
        try:
            for live, value in pairs:
                live.data = value
            with self.without_adapter():
                yield
        finally:
            for (live, _), value in zip(pairs, now, strict=True):
                live.data = value

    def answer(self, examples: Sequence[Example]) -> list[str]:
        """An answer an example, in order: the choice that ranks first, or generated text where there is none."""
        return [answer for answer, _ in self.ranked(examples)]

    def weighed(self, examples: Sequence[Example]) -> list[tuple[str, tuple[float, ...]]]:
        """The same with the probability of each choice, the softmax in float64 of the numbers that rank them."""
        found = [(answer, torch.tensor(scores, dtype=torch.float64)) for answer, scores in self.ranked(examples)]
        return [(answer, tuple(scores.softmax(dim=0).tolist())) for answer, scores in found]

    @abstractmethod
    def ranked(self, examples: Sequence[Example]) -> list[tuple[str, list[float]]]:
        """An answer an example, and the numbers that rank its choices, in their order; none for generated text."""
