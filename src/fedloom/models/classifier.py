"""A residual network that names a picture's class: what an icon is, as IconQA's authors train on Icon645.

Its head has a row for each class of the task, drawn from the seed; an output is 30 times the cosine between picture and
row (LDAM, Cao et al. 2019, arXiv 1906.07413, released code). Statistics of batches stay those of the checkpoint.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoImageProcessor, ResNetModel

from fedloom.core.contracts import Example, Tree
from fedloom.core.device import device
from fedloom.core.errors import FedloomError
from fedloom.core.seeds import Seeds
from fedloom.core.spec import AdapterSpec
from fedloom.models.checkpoints import checkpoint, checks, identity
from fedloom.models.checkpoints.checkpoint import Checkpoint
from fedloom.models.checkpoints.processors import Parts
from fedloom.models.labelled import Labelled
from fedloom.models.labels import Called
from fedloom.models.options import Options
from fedloom.models.patch_trm import pictures
from fedloom.models.vision.features import FeatureCache

SCALE = 30.0
"""What cosines are multiplied with."""


class Cosines(nn.Module):
    """``SCALE`` times the cosine of what comes in and each of its rows."""

    def __init__(self, inputs: int, rows: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.Linear(inputs, rows, bias=False).weight.detach())

    def forward(self, x: Tensor) -> Tensor:
        """``[B, inputs]`` to ``[B, rows]``."""
        return SCALE * F.normalize(x, dim=-1) @ F.normalize(self.weight, dim=-1).T


class Named(nn.Module):
    """A residual network with a head."""

    def __init__(self, network: Any, classes: int) -> None:
        super().__init__()
        self.config = network.config
        self.vision_model = network
        self.connector = Cosines(network.config.hidden_sizes[-1], classes)


def made(called: Called, folder: Path, classes: Sequence[str]) -> Checkpoint:
    """The residual network of a folder with a head for ``classes``, which the seed of its name draws.

    Raises:
        FedloomError: no classes are known, or a file is missing or damaged.
    """
    name = str(called)
    if not classes:
        raise FedloomError(
            f"model: {name!r} names classes, and none are known here. Choose a task that has some, such as "
            "icons-classify; of a model of the hub, fetch its folder and give model.name its path."
        )
    checks.configuration(name, folder)
    parts = {
        identity.WEIGHTS: checkpoint.hashed(checks.weights(folder)),
        **identity.files(folder),
        "head": str(called.seed),
    }
    try:
        with torch.random.fork_rng(devices=[]):
            network = checkpoint.all_of(name, ResNetModel, folder)
            torch.manual_seed(called.seed or 0)
            model = Named(network, len(classes))
        processor = _processor(folder)
    except FedloomError:
        raise
    except Exception as error:  # whatever a library makes of a damaged file
        raise FedloomError(f"model: {name!r} cannot be read from its files: {checks.reason(error)}") from error
    model.requires_grad_(False).eval().to(device())
    return Checkpoint(name, model, Parts(processor, None), parts, generative=False)


def _processor(folder: Path) -> Any:
    """How pictures are made ready: as for a patch of Patch-TRM, or as Transformers does it."""
    said = json.loads((folder / pictures.FILE).read_text(encoding="utf-8-sig"))
    if "grids" in said:
        return replace(pictures.read(said), choice=True)
    return AutoImageProcessor.from_pretrained(folder, backend="pil", trust_remote_code=False)


class Classifier(Labelled):
    """A residual network whose labels are the task's classes."""

    def __init__(
        self, checkpoint: Checkpoint, spec: AdapterSpec | None, seeds: Seeds, cache: FeatureCache, options: Options
    ) -> None:
        super().__init__(checkpoint, spec, seeds, cache, options)
        self.names = options.classes

    @property
    def network(self) -> Any:
        """The residual network, as it has learnt."""
        return self._model.vision_model

    @property
    def picture_processor(self) -> Any:
        """What makes pictures ready for it."""
        return self._processor.image_processor

    def _check(self, example: Example) -> None:
        super()._check(example)
        if len(example.images) != 1:
            raise FedloomError(
                f"example {example.id!r} has {len(example.images)} pictures; {self.name!r} names one. Choose a task or "
                "modality where every example has its picture."
            )

    def _encode(self, pixels: Tree) -> Tree:
        with self._autocast():
            seen = self._model.vision_model(pixels["pixel_values"].flatten(0, -4)).pooler_output
        return {"pooled": seen.flatten(1)}

    def _inputs(self, examples: Sequence[Example]) -> Tree:
        return self._images.batch([example.images[0] for example in examples])

    def _logits(self, inputs: Tree) -> Tensor:
        pooled = (inputs if "pooled" in inputs else self._encode(inputs))["pooled"]
        found: Tensor = self._model.connector(pooled)
        return found
