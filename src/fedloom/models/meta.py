"""A model's parameters, adapter and activations from its configuration alone: nothing is downloaded or allocated.

The model is built on torch's ``meta`` device, whose tensors have shapes and no memory. The forward pass runs on fake
CPU tensors, for which PyTorch chooses the kernels that real ones would get.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.nn import functional as F
from transformers import AutoModel, AutoModelForImageTextToText, ResNetModel

from fedloom.adapters import PREFIX
from fedloom.core.components import CONTEXT, reads_apart
from fedloom.core.contracts import Form, Outputs, Tree, everything
from fedloom.core.device import use_device
from fedloom.core.errors import FedloomError
from fedloom.core.passage import Passage, Target, Where
from fedloom.core.seeds import Seeds
from fedloom.core.spec import AdapterSpec
from fedloom.core.table import Component
from fedloom.core.tree import nbytes
from fedloom.models import NANO, families, labels
from fedloom.models.base import Tuned
from fedloom.models.checkpoints import checkpoint, checks, parts
from fedloom.models.checkpoints.checkpoint import Checkpoint
from fedloom.models.checkpoints.checks import CONTRASTIVE
from fedloom.models.classifier import Named
from fedloom.models.configurations import configuration
from fedloom.models.families.llava import Llava
from fedloom.models.labels import LABELLED
from fedloom.models.language.decoder import Language
from fedloom.models.language.encoder_decoder import EncoderDecoder
from fedloom.models.live import Live, saved
from fedloom.models.options import Options
from fedloom.models.patch_trm.configuration import PatchTrmConfig
from fedloom.models.patch_trm.network import PatchTrm
from fedloom.models.vision.absent import NAME, width
from fedloom.models.vision.features import FeatureCache

WITHOUT = "This model has shapes alone: it was read without its weights, to plan with, and cannot compute."
SIDE = 224
"""Pixels a side that a residual network is taken to see, whose configuration does not tell."""
Dtype = Literal["float32", "bfloat16"]
Classes = tuple[str, ...]


@dataclass(frozen=True)
class Batch:
    """What a training batch is assumed to hold; every example has one picture.

    ``tokens``: tokens of an example's text. ``answer``: those of them whose logits are needed. ``captions``: distinct
    captions in the batch of a contrastive model, of ``tokens`` tokens or as many as it reads.
    """

    examples: int
    tokens: int = 64
    answer: int = 4
    captions: int = 32


@dataclass(frozen=True)
class Seeing:
    """What becomes of pictures: the ``places`` that one takes, the bytes that are kept of it, and the most that the way
    there takes at once."""

    places: int
    kept: int
    peak: int


class Meta(Tuned):
    """A backbone without weights: what it has are names, shapes and sizes. ``dtype`` is that of the weights,
    ``revision``, ``classes`` and ``form`` as in ``models.load``; ``weight_bytes``: of what does not learn."""

    def __init__(
        self,
        name: str,
        adapter: AdapterSpec,
        dtype: Dtype = "float32",
        revision: str = "",
        classes: Classes = (),
        form: Form | Literal[""] = "",
    ) -> None:
        config = configuration(name, revision)
        self.labelled = config.model_type in LABELLED
        generative = config.model_type not in (*CONTRASTIVE, *LABELLED)
        try:
            with torch.device("meta"):
                model = self._shape(config, dtype, generative, classes, labels.called(name).form or form)
        except Exception as error:  # whatever a library makes of a configuration
            raise FedloomError(
                f"model: the configuration of {name!r} makes no model: {checks.reason(error)}"
            ) from error
        model.requires_grad_(False).eval()
        use_device("")  # as a run would
        if not self.labelled:
            checkpoint.check(name, model, NANO.get(name, Path(name).expanduser()))
        named = {n: p.data for n, p in [*model.named_parameters(), *model.named_buffers()]}
        self.generative = generative
        self.halves = parts.halved(model, named) if generative and not reads_apart(model) else None
        found = Checkpoint(name, model, None, {}, generative)
        super().__init__(found, adapter, Seeds(0), FeatureCache(None, 0, 0), Options(dtype=dtype, classes=classes))
        mine = {name.removeprefix(PREFIX) for name in self.leaves()}  # some are the model's own
        self.weight_bytes = nbytes({n: value for n, value in named.items() if n not in mine})

    @staticmethod
    def _shape(config: Any, dtype: Dtype, generative: bool, classes: Classes, form: Form | Literal[""]) -> Any:
        """The model of a configuration."""
        if config.model_type == labels.NAMED:
            return Named(ResNetModel(config), len(classes))
        if config.model_type in LABELLED:
            config.forms = [form] if form else config.forms
            return PatchTrm(config)
        auto = AutoModelForImageTextToText if generative else AutoModel
        return auto.from_config(config, dtype=getattr(torch, dtype), trust_remote_code=False)

    def absent(self) -> Tree:
        """The leaf of a picture that is absent, where it is learned (``fedloom.models.vision.absent``)."""
        return {NAME: torch.empty(width(self._model), device="meta")}

    @property
    def adapted_bytes(self) -> int:
        """Bytes of the weights of all adapted layers: kept a second time once the base is changed."""
        return nbytes(self._adapter.weights())

    def is_frozen(self, part: Component) -> bool:
        """Whether nothing in ``part`` learns."""
        return self._frozen(part)

    @property
    def nano_places(self) -> tuple[Where, ...]:
        """What NanoAdapters adapt, where there are any."""
        return tuple(self._adapter.coders)

    def collate(self, examples: Any) -> Any:
        """There is nothing to compute with."""
        raise FedloomError(WITHOUT)

    def outputs(self, batch: Any) -> Outputs:
        """There is nothing to compute with."""
        raise FedloomError(WITHOUT)

    def ranked(self, examples: Any) -> list[tuple[str, list[float]]]:
        """There is nothing to compute with."""
        raise FedloomError(WITHOUT)

    def activations(self, batch: Batch, trains: Callable[[str], bool] = everything) -> int:
        """Bytes that autograd keeps from the forward pass of a batch for its backward pass, each memory once, where
        those tensors of the adapter learn that ``trains`` names.

        Parameters are not counted, nor what a frozen part makes on its way, which is not kept. The backbone cannot be
        used any more afterwards.

        Raises:
            Exception: whatever a model raises whose forward pass depends on the pictures themselves.
        """
        mode, own = self._faked
        for name, leaf in self.leaves().items():
            leaf.requires_grad_(trains(name))
        with self._adapter.training(), mode, saved(own) as sizes:
            with torch.autocast("cpu", torch.bfloat16, enabled=self._options.dtype == "bfloat16"):
                if self.labelled:
                    loss = self._rate(batch)
                else:
                    loss = self._generate(batch) if self._generative else self._contrast(batch)
            del loss
            return sum(sizes.values())

    @cached_property
    def _faked(self) -> tuple[FakeTensorMode, set[int]]:
        """The mode in which the model's tensors are fake, and the addresses of their memories."""
        mode = FakeTensorMode()
        return mode, _made_fake([self._model, *self._adapter.modules], mode)

    def seeing(self, batch: Batch) -> Seeing:
        """What becomes of pictures before the language model, eight at a time, or those of a batch where something
        learns on the way. The backbone cannot be used any more afterwards.

        Raises:
            Exception: whatever a model raises whose forward pass depends on the pictures themselves.
        """
        self._check_alike()
        frozen = self._frozen("vision"), self._frozen("connector")
        count = self._family.together if all(frozen) else batch.examples
        half = torch.autocast("cpu", torch.bfloat16, enabled=self._options.dtype == "bfloat16")
        with self._faked[0], Live() as live:
            pixels = [self._pixels(Batch(1))[0] for _ in range(count)]
            with half, torch.set_grad_enabled(not frozen[0]):
                states = self._family.see({"pixel_values": torch.stack(pixels)})
            with half, torch.set_grad_enabled(not all(frozen)):
                seen = self._family.connect({**states, **self._heard(count, batch.tokens)})["seen"]
            kept = [row.detach().clone() for row in seen]
            return Seeing(int(seen.shape[-2]), kept[0].nbytes, live.peak)

    @cached_property
    def _family(self) -> families.Family:
        kind = self._model.config.model_type
        return families.BY_TYPE[kind](self._model, None) if kind in families.BY_TYPE else Llava(self._model, None, 0)

    def _check_alike(self) -> None:
        if self._family.together == 1:
            raise FedloomError(f"a picture of a {self._model.config.model_type!r} takes tokens after its size")

    def _heard(self, examples: int, tokens: int) -> Tree:
        """What a connector reads besides."""
        if not self._family.reads_prompt:
            return {}
        return {name: torch.ones(examples, tokens, dtype=torch.long) for name in ("question", "heard")}

    def _generate(self, batch: Batch) -> Tensor:
        """The loss as ``Generative`` computes it."""
        self._check_alike()
        states = self._family.see({"pixel_values": self._pixels(batch)})
        seen = self._family.connect({**states, **self._heard(batch.examples, batch.tokens)})["seen"]
        length = seen.shape[1] + batch.tokens
        words = self._model.get_input_embeddings()(torch.zeros(batch.examples, length, dtype=torch.long))
        places = torch.zeros(batch.examples, length, 1, dtype=torch.bool)
        base = words.masked_scatter(places, seen.to(words.dtype))
        for where, adapter in self._adapter.coders.items():  # which places these are does not matter
            part = slice(None, seen.shape[1]) if where == "image" else slice(seen.shape[1], None)
            change = self._adapter.spec.scale * (adapter.codes(base[:, part].clone()) @ adapter.up.T)
            base = base.slice_scatter(base[:, part] + change.to(base.dtype), 1, part.start, part.stop)
        mask, keep = torch.ones(batch.examples, length, dtype=torch.bool), torch.zeros(batch.answer, dtype=torch.long)
        wanted = torch.zeros(batch.examples, batch.answer, dtype=torch.long)
        language = EncoderDecoder if reads_apart(self._model) else Language
        return language(self._model, self._options.dtype).losses(Passage(base, mask), Target(keep, wanted)).mean()

    def _rate(self, batch: Batch) -> Tensor:
        """The loss as a model with an output for each label computes it, of its first form of question."""
        config = self._model.config
        vision = config.vision_config if isinstance(config, PatchTrmConfig) else config
        width, wanted = vision.hidden_sizes[-1], torch.zeros(batch.examples, dtype=torch.long)
        see = None if self._frozen("vision") else self._model.vision_model

        def features(*shape: int) -> Tensor:
            """Of so many pictures: kept ones, or what the network makes of them where it learns."""
            if see is None:
                return torch.zeros(*shape, width)
            size = getattr(config, "patch_size", SIDE)
            seen = see(pixel_values=torch.zeros(math.prod(shape), 3, size, size)).pooler_output
            return seen.reshape(*shape, width)  # type: ignore[no-any-return]

        if not isinstance(config, PatchTrmConfig):
            return F.cross_entropy(self._model.connector(features(batch.examples)), wanted)
        tokens = min(batch.tokens, config.text_config.max_position_embeddings)
        ids, form = torch.zeros(batch.examples, tokens, dtype=torch.long), config.forms[0]
        offered = {
            "choose_txt": torch.zeros(batch.examples, config.choices, config.choice_words, dtype=torch.long),
            "choose_img": features(batch.examples, config.choices) if form == "choose_img" else None,
        }
        shown = features(batch.examples, config.patches)
        logits = self._model(shown, ids, torch.ones_like(ids), form, offered.get(form))
        return F.binary_cross_entropy_with_logits(logits, torch.zeros_like(logits))

    def _contrast(self, batch: Batch) -> Tensor:
        """The loss over classes as ``Contrastive`` computes it."""
        wanted = torch.zeros(batch.examples, dtype=torch.long)
        images = self._adapter.images(self._model.get_image_features(pixel_values=self._pixels(batch)).pooler_output)
        scores = self._adapter.scores(images, self._options.classes)
        if scores is not None:
            return F.cross_entropy(scores, wanted)
        length = min(batch.tokens, self._model.config.text_config.max_position_embeddings)
        ids = torch.zeros(batch.captions, length, dtype=torch.long)
        ids[:, : self._adapter.context] = CONTEXT
        texts = self._model.get_text_features(input_ids=ids).pooler_output
        logits = F.normalize(images.float(), dim=-1) @ F.normalize(texts.float(), dim=-1).T
        return F.cross_entropy(logits, wanted)

    def _pixels(self, batch: Batch) -> Tensor:
        vision = self._model.config.vision_config
        dtype = next(self._model.parameters()).dtype
        channels = getattr(vision, "num_channels", 3)
        return torch.zeros(batch.examples, channels, vision.image_size, vision.image_size, dtype=dtype)


def _made_fake(models: Sequence[nn.Module], mode: FakeTensorMode) -> set[int]:
    """Put a fake CPU tensor in the place of each tensor of some models; the addresses of their memories."""
    made: dict[int, Tensor] = {}  # tied weights stay tied
    for module in (module for model in models for module in model.modules()):
        boxes: tuple[dict[str, Any], ...] = (module._parameters, module._buffers)
        for box in boxes:
            for name, value in box.items():
                if value is None:
                    continue
                if id(value) not in made:
                    fake: Any = FakeTensor(mode, value.data.to("meta"), torch.device("cpu"))
                    is_parameter = isinstance(value, nn.Parameter)
                    made[id(value)] = nn.Parameter(fake, value.requires_grad) if is_parameter else fake
                box[name] = made[id(value)]
    return {value.untyped_storage()._cdata for value in made.values()}
